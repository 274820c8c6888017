"""What the benchmarks share: timings with their spread, and the table that each prints."""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
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


def in_turn(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Time functions in turn, A B C A B C, so that a slow moment of a shared machine meets them all."""
    seconds = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            began = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - began)
    return {name: Timing(values) for name, values in seconds.items()}


def machine(device=None) -> dict[str, str]:
    """What a figure depends on beside the code; of a GPU, with ``device`` a torch device."""
    import torch

    from models.runs.versions import versions

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    widest = next((name for name in ("avx512_bf16", "avx512f", "avx2") if name in flags), "")
    known = {"processor": f"{model} ({widest or platform.machine()}), {cores()} cores", **versions()}
    if device is not None and device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        known["GPU"] = f"{card.name}, {card.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}"
    return known


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
    """Print rows, columns by name, as a Markdown table below the machine and the ``facts`` that the figures depend on;
    also write them as JSON with ``--json``."""
    about = machine()
    print(f"\n{name} on {about['processor']}, torch {about['torch']}"
          + "".join(f", {key.replace('_', ' ')} {value}" for key, value in facts.items()) + "\n")
    print(*table(rows), sep="\n")
    if args.json:
        write(args.json, {"benchmark": name, "machine": about, **facts, "rows": rows})
        print(f"\nwrote {args.json}")


def write(path: Path, found: dict[str, object]) -> None:
    """Write figures as JSON, a `Timing` with all its repeats."""
    with write_atomically(path) as file:
        json.dump(found, file, indent=2, default=_plain)
        file.write("\n")


def table(rows: list[dict[str, object]]) -> list[str]:
    """The lines of a Markdown table. A row may lack columns."""
    from tabulate import tabulate

    columns = dict.fromkeys(column for row in rows for column in row)
    return tabulate([[_shown(row.get(column, "")) for column in columns] for row in rows], list(columns), "github",
                    disable_numparse=True).splitlines()


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _plain(value: object):
    """A `Timing`, or another value that JSON lacks, as JSON can hold it."""
    if isinstance(value, Timing):
        return {"median": value.median, "spread": value.spread, "seconds": value.seconds}
    return str(value)
