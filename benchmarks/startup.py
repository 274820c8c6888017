"""How long the scripts take to answer --help, training to its first step, a test to its first batch; and what takes it.

The data set is made for it: noise, one batch of 35 words x 10 clips, packed before the measurement. Python's files
are warm. "imports" are those that TripletEncoder.py does after its arguments are parsed; below them, from
`python -X importtime`, each package's own modules and, "with others", also what it was the first to import.
"""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile

from benchmarks import measure
from data.base.files import ROOT
from data.manifests import SPLITS, Utterance, register, write_manifest

SCRIPTS = ("TripletEncoder.py", "TripletClassifier.py", "infer_train.py", "infer_notl.py")
IMPORT = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|( *)(\S+)")


def generate(folder: Path, words: int, clips: int) -> list[str]:
    """Write and register the data set. Returns the flags of TripletEncoder.py that make it train there."""
    rng = np.random.default_rng(0)
    for split in SPLITS:
        utterances = []
        for n in range(words * clips):
            path = folder / f"word{n % words}" / f"{split}{n}_nohash_0.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, rng.integers(-3000, 3000, 16_000, np.int16), 16_000, "PCM_16")
            utterances.append(Utterance(str(path), path.parent.name, 1.0))
        write_manifest(folder / f"{split}.json", utterances)
    registry = folder / "manifests.json"
    register("noise", **{split: folder / f"{split}.json" for split in SPLITS}, registry=registry)
    return ["--manifest=noise", f"--registry={registry}", f"--cache_dir={folder / 'cache'}", "--model=Res8",
            f"--runs_dir={folder / 'runs'}"]


def python(*arguments: str) -> tuple[float, subprocess.CompletedProcess]:
    """Run Python in the project's folder: seconds, and what it printed."""
    began = time.perf_counter()
    process = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{process.stderr}")
    return time.perf_counter() - began, process


def trace(script: str, started: float, flags: list[str]) -> None:
    """In a process of its own: run a script to its first step or batch, print when each part was over, and leave."""
    over: dict[str, float] = {}

    def mark(name: str) -> None:
        over[name] = time.time() - started

    def end(name: str) -> None:
        mark(name)
        print("\n" + json.dumps(over), flush=True)
        os._exit(0)

    module = importlib.import_module(script)
    args = module.parse_args(flags)
    mark("Python, arguments")
    if script == "TripletEncoder":
        from models.training import loop

        class Stop(loop.Loop):
            def on_train_batch_start(self, *_):
                mark("data, model, trainer")

            def on_train_batch_end(self, *_):
                end("first step")

        loop.Loop = Stop
    else:
        from models.encoders import embedding

        embed = embedding.embed

        def stop(*given):
            embed(*given)
            end("data, model, first batch")

        embedding.embed = stop
    mark("imports")
    module.main(args)


def phases(script: str, flags: list[str]) -> dict[str, float]:
    """Seconds of each part of the way to a script's first step or batch, and of all."""
    code = "import sys; from benchmarks import startup; startup.trace(sys.argv[1], float(sys.argv[2]), sys.argv[3:])"
    over = json.loads(python("-c", code, script, str(time.time()), *flags)[1].stdout.splitlines()[-1])
    ends = list(over.values())
    parts = np.diff([0.0, *ends]).tolist()
    return {"start to the end of it": ends[-1]} | dict(zip(over, parts, strict=True))


def imports(printed: str) -> dict[str, tuple[float, float]]:
    """Seconds by package, of its own modules and with all that they were the first to import, most first."""
    own, whole, above = Counter(), Counter(), []
    for line in reversed(printed.splitlines()):  # a module's line follows those of what it imported
        if match := IMPORT.match(line):
            package, depth = match[4].split(".")[0], len(match[3])
            above = [(level, name) for level, name in above if level < depth]
            own[package] += int(match[1]) / 1e6
            if package not in {name for _, name in above}:
                whole[package] += int(match[2]) / 1e6
            above.append((depth, package))
    return {package: (seconds, whole[package]) for package, seconds in own.most_common()}


def main() -> None:
    parser = measure.parser("startup", __doc__)
    parser.add_argument("--words", type=int, default=35, help="classes of the batch (default: 35)")
    parser.add_argument("--clips", type=int, default=10, help="clips of each (default: 10)")
    parser.add_argument("--packages", type=int, default=12, help="packages shown, the slowest (default: 12)")
    args = parser.parse_args()
    if args.words < 2 or args.clips < 2 or args.packages < 1 or args.repeats < 1:
        parser.error("at least 2 words, 2 clips of each, 1 package and 1 repeat")
    folder = Path(tempfile.mkdtemp(prefix="startup-"))
    try:
        flags = generate(folder, args.words, args.clips)
        helps = measure.in_turn({script: lambda script=script: python(script, "--help") for script in SCRIPTS},
                                args.repeats)
        steps = ["--recipe=fast", "--num_steps=1"]
        python("TripletEncoder.py", "--name=warm", *flags, *steps)
        python("infer_train.py", "--name=warm", *flags)
        found = {"TripletEncoder": [], "infer_train": []}
        for n in range(args.repeats):
            found["TripletEncoder"].append(phases("TripletEncoder", [f"--name=traced{n}", *flags, *steps]))
            found["infer_train"].append(phases("infer_train", ["--name=warm", *flags]))
        printed = python("-X", "importtime", "TripletEncoder.py", "--name=imports", *flags, *steps)[1].stderr
    finally:
        shutil.rmtree(folder)
    rows = [{"what": f"{script} --help", "time": timing} for script, timing in helps.items()]
    for script, repeats in found.items():
        parts = {part: measure.Timing([one[part] for one in repeats]) for part in repeats[0]}
        whole = next(iter(parts.values()))
        rows += [{"what": f"{script}.py, {part}", "time": timing, "share": timing.median / whole.median}
                 for part, timing in parts.items()]
    rows += [{"what": f"import {package}", "time": measure.duration(own), "with others": measure.duration(total)}
             for package, (own, total) in list(imports(printed).items())[:args.packages]]
    measure.show("startup", rows, args, batch=args.words * args.clips)


if __name__ == "__main__":
    main()
