"""Whether a GPU computes what the CPU does, and how long it takes: one report of checks and figures, in five minutes.

Needs no network and no data. Each part is printed when it is done, the most telling first; none is begun after
--minutes. A part that needs a package which is not installed is skipped, with its name. Ends with code 1 if a part
failed. Without a GPU everything runs on the CPU, at a smaller size.
"""

import argparse
import importlib.util
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import measure
from data.base.errors import exit_cleanly


class Part(NamedTuple):
    """A check of a `Here`, which returns what it found as text, or figures: rows for the table of that heading."""

    name: str
    work: Callable
    table: str = ""


def parts() -> list[Part]:
    """All parts, the most telling first."""
    from benchmarks.gpu import checks, figures

    both = "Res8", "Res15"
    def step(what: str, model: str, names=tuple(figures.WAYS), times: int = 1) -> Part:
        return Part(f"{what} {model}" + ", ten times" * (times > 1),
                    partial(figures.compared, model=model, ways={name: (figures.WAYS | figures.COMPILED)[name]
                                                                 for name in names}, times=times), "A training step")

    return [
        Part("all ways of a step agree", partial(figures.agreement, ways=figures.WAYS)),
        *(step("steps of", model) for model in both),
        step("steps of", "Res8", figures.BEST, 10),
        Part("data at the same pace", figures.data, "Augmentation"),
        *(Part(f"embedding by {model}", partial(figures.embedding, model=model), "Embedding") for model in both),
        *(Part(f"embeddings of {model}", partial(checks.embeddings, model=model)) for model in both),
        Part("TF32 wherever there are embeddings", checks.places),
        *(step("compiled steps of", model, (*figures.BEST, *figures.COMPILED)) for model in both),
        Part("compiled steps agree", partial(figures.agreement, ways=figures.COMPILED)),
        Part("losses", figures.losses, "Losses"),
        step("steps of", "Res15", figures.BEST, 10),
        step("steps of", "Quartz", ("bf16", "bf16, graph")),
        *(Part(name, work) for name, work in {
            "mining": checks.mining, "augmentation": checks.augmentation, "nearest neighbours": checks.neighbours,
            "the demo set": checks.demo, "start": checks.start, "TripletEncoder.py": checks.train_encoder,
            "infer_train.py": partial(checks.accuracy, name="infer_train.py"), "a resumed run": checks.resumed,
            "TripletClassifier.py": checks.train_head,
            "infer_notl.py": lambda here: checks.accuracy(here, "infer_notl.py", "--cl_name=head"),
            "a teacher's embeddings": checks.teacher, "spotting": checks.spotting}.items())]


def markdown(about: dict[str, str], done: list[dict[str, object]]) -> str:
    """What was found, as a report."""
    found = [{key: one[key] for key in ("part", "verdict", "found", "seconds")} for one in done if "found" in one]
    lines, tables = [], {}
    for one in done:
        tables.setdefault(one["table"], []).extend(one.get("rows", ()))
    for heading, rows in ((heading, rows) for heading, rows in tables.items() if rows):
        lines += ["", f"## {heading}", "", *measure.table(rows)]
    verdicts = [one["verdict"] for one in done]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("passed", "failed", "skipped"))
    return "\n".join(["# On a GPU: `python -m benchmarks.gpu`", "", ", ".join(f"{k} {v}" for k, v in about.items()), "",
                      *measure.table(found), *lines, "", f"parts: {counts}"])


def attempt(part: Part, here) -> tuple[str, object]:
    """The verdict on a part (passed, failed or skipped), and its rows, what it found, or the reason."""
    try:
        return "passed", part.work(here)
    except (Exception, SystemExit) as error:  # the other parts still run
        lacking = re.search(r"No module named '(\w+)", str(error))
        if lacking and not importlib.util.find_spec(lacking[1]):
            return "skipped", f"{lacking[1]} is not installed"
        if isinstance(error, measure.Skipped | measure.Failed | SystemExit):
            return "skipped" if isinstance(error, measure.Skipped) else "failed", str(error)
        traceback.print_exc()
        return "failed", f"{type(error).__name__}: {(str(error) or 'no reason').splitlines()[0]}"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all to this file, anew after every part")
    parser.add_argument("--gpu", type=int, default=0, help="number of the GPU; without one, the CPU (default: 0)")
    parser.add_argument("--quick", action="store_true",
                        help="a few clips and steps: shows that all of it runs; its times mean nothing")
    parser.add_argument("--minutes", type=float, default=5, help="after which no part is begun (default: 5)")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="only the parts whose names hold one of these")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    began = time.monotonic()
    from benchmarks.gpu.figures import Here
    from models.encoders.device import pick_device

    chosen = [part for part in parts() if not args.only or any(word in part.name for word in args.only)]
    device = pick_device(args.gpu)
    known, done = measure.machine(device), []
    with tempfile.TemporaryDirectory(prefix="gpu-", ignore_cleanup_errors=True) as folder:
        here = Here(device, args.quick, Path(folder))
        for part in chosen:
            started = time.monotonic()
            late = started - began > 60 * args.minutes
            verdict, found = ("skipped", f"--minutes {args.minutes:g} were over") if late else attempt(part, here)
            done.append({"part": part.name, "table": part.table, "verdict": verdict,
                         "seconds": f"{time.monotonic() - started:.1f}",
                         "rows" if isinstance(found, list) else "found": found})
            shown = found if isinstance(found, str) else "\n".join(["", *measure.table(found)])
            print(f"[{time.monotonic() - began:6.1f} s] {part.name}: {verdict}: {shown}", file=sys.stderr, flush=True)
            if args.json:
                measure.write(args.json, {"benchmark": "gpu", "machine": known, "parts": done})
    print(markdown(known, done))
    return int(any(one["verdict"] == "failed" for one in done))


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
