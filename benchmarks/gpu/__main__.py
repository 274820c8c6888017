"""Everything to be known of a GPU, by one command: whether it computes what the CPU does, and how long it takes.

Checks and figures in one Markdown report, the most telling first, in about five minutes on one GPU. Needs no network
and no data; what a part needs and is not installed is said, and the part skipped. Progress goes to standard error, a
line a part. Ends with code 1 if a check failed. Without a GPU all of it runs on the CPU, at a smaller size.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import measure
from data.base.errors import UserError, exit_cleanly
from data.base.files import write_atomically

if TYPE_CHECKING:
    from benchmarks.gpu.here import Here

LIMIT = 300  # seconds after which no part begins


@dataclass
class Part:
    """A check or a table of figures.

    Attributes:
        table: heading of the table that its rows go to; "" for a check, which returns what it found as text.
    """

    name: str
    work: Callable[[Here], object]
    table: str = ""


def parts() -> list[Part]:
    """All there is to do, in the order in which one would miss it."""
    from benchmarks.gpu import checks, figures, rates, scripts

    step, rate = "A training step", "Embedding"
    both = ("Res8", "Res15")
    return [
        *(Part(f"embeddings of {model}", partial(checks.embeddings, model=model)) for model in both),
        *(Part(f"embeddings of {run}, published", partial(checks.embeddings, model=run))
          for run in ("res15_35", "res15_12")),
        Part("mining", checks.mining),
        Part("masks, shift, noise and speed", checks.augmentation),
        Part("rooms, voices, bands, gain and vocal tracts", checks.rooms_and_voices),
        Part("the other losses", checks.losses),
        Part("nearest neighbours", checks.neighbours),
        *(Part(f"steps of {model}", partial(figures.steps, model=model, times=1), step) for model in both),
        Part("resident, copied, augmented, by the Trainer", figures.variants, "Around the network"),
        Part("the demo set", scripts.demo),
        Part("TripletEncoder.py", scripts.train_encoder),
        Part("infer_train.py", scripts.test_encoder),
        Part("a resumed run", scripts.resumed),
        Part("start", scripts.start, "Starting"),
        Part("TripletClassifier.py", scripts.train_head),
        Part("infer_notl.py", scripts.test_head),
        *(Part(f"embedding by {model}", partial(rates.embedding_rates, model=model), rate) for model in both),
        *(Part(f"steps of {model}, ten times", partial(figures.steps, model=model, times=10), step) for model in both),
        *(Part(f"layouts of {model}", partial(rates.layouts, model=model), "Layout and width") for model in both),
        Part("torchrun", scripts.several),
        Part("embeddings of Quartz", partial(checks.embeddings, model="Quartz")),
        Part("steps of Quartz", partial(figures.steps, model="Quartz", times=1), step),
        *(Part(f"compiled steps of {model}", partial(figures.steps, model=model, times=1, compiled=True), step)
          for model in both),
        Part("--compile", scripts.compiled),
        Part("steps of Quartz, ten times", partial(figures.steps, model="Quartz", times=10), step),
        *(Part(f"compiled steps of {model}, ten times", partial(figures.steps, model=model, times=10, compiled=True),
               step) for model in both),
        Part("compiled steps of Quartz", partial(figures.steps, model="Quartz", times=1, compiled=True), step),
        Part("fifteen epochs", rates.epochs, "Fifteen epochs, computed"),
    ]


class Report:
    """What was found so far, and the two files that it is in after every part."""

    def __init__(self, about: dict[str, str], out: Path | None):
        self.about, self.out = about, out
        self.done: list[dict[str, object]] = []

    def add(self, part: Part, verdict: str, found: object, seconds: float) -> None:
        self.done.append({"part": part.name, "table": part.table, "verdict": verdict, "seconds": round(seconds, 1),
                          "rows" if isinstance(found, list) else "found": found})
        if self.out:
            for path, text in ((self.out.with_suffix(".md"), self.markdown()),
                               (self.out.with_suffix(".json"), self.json(indent=2))):
                with write_atomically(path) as file:
                    file.write(text + "\n")

    def json(self, **how) -> str:
        return json.dumps({"benchmark": "gpu", "machine": self.about, "parts": self.done}, default=measure.plain, **how)

    def markdown(self) -> str:
        lines = ["# On a GPU: `python -m benchmarks.gpu`", "", ", ".join(f"{k} {v}" for k, v in self.about.items()), "",
                 "| check | | found | seconds |", "|---|---|---|---|"]
        lines += [f"| {one['part']} | {one['verdict']} | {one.get('found', '')} | {one['seconds']} |"
                  for one in self.done if not one["table"]]
        for table in dict.fromkeys(one["table"] for one in self.done if one["table"]):
            these = [one for one in self.done if one["table"] == table]
            rows = [row for one in these for row in one.get("rows", [])]
            lines += ["", f"## {table}", "", *(measure.table(rows) if rows else [])]
            lines += [f"\n{one['part']}: {one['verdict']}, {one['found']}" for one in these if "found" in one]
        return "\n".join([*lines, "", self.summary()])

    def summary(self) -> str:
        count = {verdict: sum(one["verdict"] == verdict and not one["table"] for one in self.done)
                 for verdict in ("passed", "failed", "skipped")}
        without = sum(one["verdict"] == "failed" and bool(one["table"]) for one in self.done)
        return "checks: " + ", ".join(f"{number} {verdict}" for verdict, number in count.items()) + (
            f"; tables of figures that failed: {without}" if without else "")

    def failed(self) -> bool:
        return any(one["verdict"] == "failed" for one in self.done)


def attempt(part: Part, here: Here) -> tuple[str, object]:
    """The verdict on a part, passed, failed or skipped, and its rows, what it found, or the reason."""
    from benchmarks.gpu.here import Failed, Skipped, missing_package

    try:
        return "passed", part.work(here)
    except Skipped as reason:
        return "skipped", str(reason)
    except Failed as reason:
        return "failed", str(reason)
    except (Exception, SystemExit) as error:  # one part's fault must not hide what the others find
        if missing := missing_package(str(error)):
            return "skipped", missing
        traceback.print_exc()
        return "failed", f"{type(error).__name__}: {(str(error) or 'no reason').splitlines()[0]}"


def about(device) -> dict[str, str]:
    import torch

    known = measure.machine()
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        known = {"GPU": f"{card.name}, {card.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}, "
                        f"cuDNN {torch.backends.cudnn.version()}"} | known
    return known


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the report to FILE.md and FILE.json, "
                        "anew after every part (default: print both at the end)")
    parser.add_argument("--checkpoints", type=Path, metavar="DIR",
                        help="folder with the published encoders, runs res15_35 and res15_12, to check too")
    parser.add_argument("--gpu", type=int, default=0, help="number of the GPU; without one, the CPU (default: 0)")
    parser.add_argument("--quick", action="store_true",
                        help="a few clips and steps: shows that all of it runs; its times mean nothing")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="only the parts whose names hold one of these")
    parser.add_argument("--limit", type=float, default=LIMIT, metavar="SECONDS",
                        help=f"begin no part after so long (default: {LIMIT})")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    began = time.monotonic()
    if args.checkpoints and not args.checkpoints.is_dir():
        raise UserError(f"--checkpoints {args.checkpoints}: no such folder; name the one with the runs res15_35 and "
                        "res15_12, or leave it out")
    from benchmarks.gpu.here import Here
    from models.encoders.device import pick_device

    chosen = [part for part in parts() if not args.only or any(word in part.name for word in args.only)]
    if not chosen:
        raise UserError(f"--only {' '.join(args.only)}: no part's name holds that; there are "
                        + ", ".join(part.name for part in parts()))
    device = pick_device(args.gpu)
    report = Report(about(device), args.out)
    folder = Path(tempfile.mkdtemp(prefix="gpu-"))
    try:
        here = Here(device, args.quick, folder, args.checkpoints and args.checkpoints.absolute())
        for part in chosen:
            started = time.monotonic()
            late = started - began > args.limit and part.name != "fifteen epochs"  # which only computes
            verdict, found = ("skipped", f"--limit {args.limit:g}") if late else attempt(part, here)
            report.add(part, verdict, found, time.monotonic() - started)
            said = found if isinstance(found, str) else f"{len(found)} rows"
            print(f"[{time.monotonic() - began:6.1f} s] {part.name}: {verdict}: {said}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(report.markdown() if args.out else f"{report.json()}\n\n{report.markdown()}")
    return int(report.failed())


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
