"""Timings as medians with their spread, machine's limit beside them, and the tables they are shown in."""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.base.cores import cores
from data.base.files import write_atomically


@dataclass
class Timing:
    """Seconds that the repeats of one thing took."""

    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half of the range from least to most, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / 2 / self.median

    def over(self, other: "Timing") -> float:
        """Median of the ratios to another thing's repeats, pair by pair: the machine's drift falls out."""
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds, strict=True))

    def __str__(self) -> str:
        return f"{duration(self.median)} ± {100 * self.spread:.0f} %"


def in_turn(functions: dict[str, Callable[[], object]], repeats: int, warm: int = 1) -> dict[str, Timing]:
    """Time several functions in turn, A B C A B C ..., so that a slow moment of a shared machine meets them all.

    Args:
        warm: uncounted rounds first.
    """
    seconds = {name: [] for name in functions}
    for round_ in range(-warm, repeats):
        for name, function in functions.items():
            began = time.perf_counter()
            function()
            if round_ >= 0:
                seconds[name].append(time.perf_counter() - began)
    return {name: Timing(values) for name, values in seconds.items()}


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """e of the power law size ** e through the values: the slope of the least-squares line of their logarithms."""
    import numpy as np

    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def machine() -> dict[str, str]:
    """What a figure depends on beside the code."""
    from models.runs.versions import versions

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    widest = next((name for name in ("avx512_bf16", "avx512f", "avx2") if name in flags), "")
    return {"processor": f"{model} ({widest or platform.machine()}), {cores()} cores", **versions()}


def duration(seconds: float) -> str:
    """Three digits, in the unit that suits."""
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1, 1e3, "ms"), (600, 1, "s")):
        if seconds < limit:
            value = seconds * factor
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return f"{seconds / 60:.1f} min"


def parser(name: str, doc: str, repeats: int = 5) -> argparse.ArgumentParser:
    """The flags that every benchmark has."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=doc,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--repeats", type=int, default=repeats, help=f"measurements of each thing (default: {repeats})")
    made.add_argument("--json", type=Path, metavar="FILE", help="also write the table to this file")
    return made


def show(name: str, rows: list[dict[str, object]], args: argparse.Namespace, **facts) -> None:
    """Print rows as a Markdown table below the machine's description; write all as JSON if asked to.

    Args:
        rows: columns by name; a `Timing` is printed as median and spread, and written with all its repeats.
        facts: what else the figures depend on.
    """
    about = machine()
    print(f"\n{name} on {about['processor']}, torch {about['torch']}"
          + "".join(f", {key.replace('_', ' ')} {value}" for key, value in facts.items()) + "\n")
    print("\n".join(table(rows)))
    if args.json:
        with write_atomically(args.json) as file:
            json.dump({"benchmark": name, "machine": about, **facts, "rows": rows}, file, indent=2, default=plain)
            file.write("\n")
        print(f"\nwrote {args.json}")


def table(rows: list[dict[str, object]]) -> list[str]:
    """The lines of a Markdown table: rows, of which not all need have all columns."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"] + [
        "| " + " | ".join(_shown(row.get(column, "")) for column in columns) + " |" for row in rows]


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def plain(value: object):
    """What JSON has no form for, as something that it has one for."""
    if isinstance(value, Timing):
        return {"median": value.median, "spread": value.spread, "seconds": value.seconds}
    return str(value)
