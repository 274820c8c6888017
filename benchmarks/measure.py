"""What the benchmarks share: timings with their spread, the machine's limit, and the table that each prints."""

import argparse
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired, run

from data.base.cores import cores
from data.base.files import ROOT, write_atomically

# Side of the square matrices whose product stands for the machine's limit; a GPU takes too little time for the CPU's.
GEMM, GEMM_GPU = 2048, 8192
FRAMES = 112  # of a one-second clip


@dataclass
class Timing:
    """Seconds that the repeats of one thing took."""

    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def over(self, other: "Timing") -> float:
        """Median of the ratios to another thing's repeats, pair by pair: the machine's drift falls out."""
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds, strict=True))

    def __str__(self) -> str:
        """The median, and half of the range from least to most."""
        return f"{duration(self.median)} ± {50 * (max(self.seconds) - min(self.seconds)) / self.median:.0f} %"


def in_turn(functions: dict[str, Callable[[], object]], repeats: int, device="cpu",
            counts: dict[str, int] | None = None) -> dict[str, Timing]:
    """Time functions in turn, A B C A B C, so that a slow moment of a shared machine meets them all; each once at a
    time, or as often as ``counts`` says, of which the mean is taken."""
    seconds = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            count = counts[name] if counts else 1
            synchronise(device)
            began = time.perf_counter()
            for _ in range(count):
                function()
            synchronise(device)
            seconds[name].append((time.perf_counter() - began) / count)
    return {name: Timing(values) for name, values in seconds.items()}


class Failed(Exception):
    """A check did not hold, or a script failed; the message says how."""


class Skipped(Exception):
    """A part cannot be done here; the message says why."""


def script(*command, timeout: float | None = None, threads: int | None = None) -> tuple[float, CompletedProcess]:
    """Run ``python *command`` in the project's folder: seconds, and what it printed. Raises Failed: its last line."""
    began = time.perf_counter()
    env = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    try:
        done = run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True, env=env,
                   timeout=timeout)
    except TimeoutExpired:
        raise Failed(f"{command[0]} took more than {timeout:.0f} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise Failed(f"{command[0]} ended with code {done.returncode}: {last}")
    return time.perf_counter() - began, done


def synchronise(device) -> None:
    """Wait until a GPU has done what it was given; nothing on a CPU."""
    if str(device) != "cpu":
        import torch

        torch.cuda.synchronize(device)


def roofline(device="cpu", dtype=None) -> Callable[[], float]:
    """A function that measures the machine's rate now: multiply-adds a second of plain matrix products."""
    import torch

    side = GEMM if str(device) == "cpu" else GEMM_GPU
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    out = a @ b
    return lambda: side ** 3 / in_turn({"": lambda: torch.mm(a, b, out=out)}, 5, device)[""].median


def multiply_adds(encoder) -> int:
    """Of one clip's forward: outputs of every convolution and linear layer times the weights each takes."""
    return sum(values * weights for values, weights in outputs(encoder))


def outputs(encoder) -> list[tuple[int, int]]:
    """Of every convolution and linear layer, for one clip: how many values it gives, and weights each takes."""
    import torch

    counts = []
    hooks = [module.register_forward_hook(lambda module, _, out: counts.append(
        (out[0].numel(), module.weight[0].numel()))) for module in encoder.modules()
        if isinstance(module, (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Linear))]
    training = encoder.training
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):  # in which the layers by parts are not taken
        encoder.eval()(torch.zeros(1, 64, FRAMES))
    encoder.train(training)
    for hook in hooks:
        hook.remove()
    return counts


def machine(device=None) -> dict[str, str]:
    """What a figure depends on beside the code; of a GPU, with ``device`` a torch device."""
    import torch

    from models.runs.checkpoints import versions

    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    widest = next((name for name in ("avx512_bf16", "avx512f", "avx2") if name in text), platform.machine())
    known = {"processor": f"{model[1] if model else platform.processor()} ({widest}), {cores()} cores", **versions()}
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
          + "".join(f", {key} {value}" for key, value in facts.items()), "", *table(rows), sep="\n")
    if args.json:
        write(args.json, {"benchmark": name, "machine": about, **facts, "rows": rows})
        print(f"\nwrote {args.json}")


def write(path: Path, found: dict[str, object]) -> None:
    """Write figures as JSON, a `Timing` with all its repeats."""
    with write_atomically(path) as file:
        json.dump(found, file, indent=2, default=lambda value: vars(value) | {"median": value.median}
                  if isinstance(value, Timing) else str(value))


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
