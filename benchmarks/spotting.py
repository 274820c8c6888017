"""How many times as fast as real time spotting.find runs, by torch and as ONNX.

The encoders are untrained, which changes no time, and the sound is made. Each search is a process of its own; "times
real time" is the command's own line, without its start.
"""

import argparse
import itertools
import re
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import measure

RATE = 16_000


def make(folder: Path, model: str, width: int) -> tuple[Path, Path]:
    """An untrained encoder, `Res8+constant` being one whose windows share their work, and a file of three words that
    nothing is like. Returns the run's folder and the file."""
    import torch

    from models.context import context_seconds
    from models.encoders.build import make_encoder
    from models.encoders.frontend import settings
    from models.runs.checkpoints import Run
    from spotting.encoders.load import load_torch
    from spotting.words.words_file import Clip, Word, Words, write_words

    torch.manual_seed(0)
    kind, compression = f"{model}+log".split("+")[:2]
    run, encoder = Run(folder, f"{model}-{width}"), make_encoder(kind, width, compression=compression)
    for norm in (module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.running_mean.fill_(0.1)  # else silence has no embedding, and an export is refused
    run.save({kind: encoder}, {}, 1, 1)
    run.write_config({"model": kind, "hidden_size": width, "clip_seconds": 1 + 2 * context_seconds(compression),
                      "frontend": settings(compression)})
    facts = load_torch(run.folder, None, None, 0).facts
    drawn = np.random.default_rng(0).normal(size=(3, 1, facts.width)).astype(np.float32)
    words = [Word(name, [Clip("-", 0.0, 1.0, name, *3 * [x / np.linalg.norm(x)])], 0.0, 0.2, 0.8, 0.999)
             for name, x in zip(("one", "two", "three"), drawn, strict=True)]
    write_words(folder / f"{model}-{width}.json", Words(facts, words))
    return run.folder, folder / f"{model}-{width}.json"


def speed(folder: Path, args: argparse.Namespace) -> list[dict]:
    import soundfile

    cases, found = {}, {}
    for model, width in itertools.product(args.models, args.widths):
        run, words = make(folder, model, width)
        path = folder / f"{model}.wav"
        t = np.arange(round(RATE * args.seconds / (10 if model == "Res15" else 1))) / RATE
        noise = np.random.default_rng(0).standard_normal(len(t)).astype(np.float32)  # swells four times a second
        soundfile.write(path, (2000 * noise * np.sin(4 * np.pi * t) ** 2).astype(np.int16), RATE)
        ways = {"torch": []}
        if args.onnx:
            measure.script("-m", "spotting.export", "--encoder", run, "--out", f"{run}.onnx")
            ways["ONNX"] = ["--onnx", f"{run}.onnx"]
        for (way, flags), threads in itertools.product(ways.items(), args.threads):
            cases[model, width, way, threads] = (words, path, "--hop", args.hop, *flags)
    for _ in range(args.repeats):  # in turn, so that a slow moment of a shared machine meets them all
        for case, flags in cases.items():
            _, done = measure.script("-m", "spotting.find", *flags, threads=case[-1])
            found.setdefault(case, []).append(float(re.search(r"([\d.]+) times real time", done.stderr)[1]))
    return [{"model": model, "channels": width, "by": way, "threads": threads,
             "times real time": f"{np.median(times):.1f}", "least to most": f"{min(times):.1f} to {max(times):.1f}"}
            for (model, width, way, threads), times in found.items()]


def main() -> None:
    parser = measure.parser("spotting", __doc__, repeats=3)
    parser.add_argument("--models", nargs="+", default=["Res8", "Res8+constant", "Res15"])
    parser.add_argument("--widths", nargs="+", type=int, default=[45], help="channels (default: 45)")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=300, help="of sound to search; Res15: a tenth (default: 300)")
    parser.add_argument("--hop", type=float, default=0.1, help="seconds from window to window (default: 0.1)")
    parser.add_argument("--onnx", action="store_true", help="also as ONNX")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure.show("spotting", speed(Path(folder), args), args)


if __name__ == "__main__":
    main()
