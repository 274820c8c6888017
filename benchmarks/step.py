"""A training step, by its parts, against the machine's limit and against plain PyTorch.

The steps are those of TripletEncoder.py: the same task, loop and packed audio, on noise. The limit ("roofline") is the
time that the network's multiply-adds take as plain matrix products of the same precision on the same machine, measured
between the steps; backward counts twice forward. Plain PyTorch is the same network without what this project does for
speed, in a process of its own.
"""

import argparse
import logging
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from benchmarks import measure
from benchmarks.measure import FRAMES, multiply_adds, roofline, synchronise
from models.runs.options.common import MODELS
from models.runs.options.training import RECIPES

PER_CLASS = {"Res8": 10, "Res15": 4, "Quartz": 10}
CLASSES, CLIPS, SAMPLES = 35, 1400, 16_000


def clips_of(path: Path, samples: np.ndarray, classes: int):
    """(N, S) int16 as the packed, mapped clips that the scripts read, ``classes`` taking turns."""
    from data.audio.dataset import Clips
    from data.audio.packed import PackedClips

    samples.tofile(path)
    count, length = samples.shape
    packed = PackedClips(np.memmap(path, np.int16, "r"), np.arange(count) * length, np.full(count, length), length, {})
    return Clips(packed, SimpleNamespace(label=np.arange(count) % classes), np.arange(count))


def settings(recipe: str, model: str, per_class: int, **changes) -> argparse.Namespace:
    """The arguments of TripletEncoder.py that its task takes: its defaults, without masks, and ``changes``."""
    import TripletEncoder
    from models.runs.options.training import resolve_loss, resolve_recipe

    args = TripletEncoder.parse_args(["--name=benchmark", "--manifest=noise", f"--model={model}", f"--recipe={recipe}",
                                      f"--per_class={per_class}", "--spec_augment=off", "--step_freq=1000000",
                                      "--eval_freq=1000000"])
    resolve_recipe(args)
    resolve_loss(args)
    return argparse.Namespace(**vars(args) | {"compression": "log"} | changes)


def timed(records: list[dict[str, float]], device, limit):
    """A `TripletTask` that records the seconds of each part of a step; ``limit`` gives those of so many clips."""
    from models.training.tasks import TripletTask

    def now() -> float:
        synchronise(device)
        return time.perf_counter()

    def part(name, function):
        def measured(*given, **keywords):
            began = now()
            result = function(*given, **keywords)
            records[-1][name] = now() - began
            return result
        return measured

    class Timed(TripletTask):
        def on_train_batch_start(self, batch, index):
            if records:
                records[-1]["step"] = now() - self.began
            records.append({"limit": limit(len(batch[0]))})
            self.began = now()

        def on_before_backward(self, loss):
            self.since = now()

        def on_after_backward(self):
            records[-1]["backward"] = now() - self.since

        spectrograms = part("front end", TripletTask.spectrograms)
        encode = part("forward", TripletTask.encode)

    return Timed


def train(args, model: str) -> list[dict[str, float]]:
    """Seconds of each part of ``args.repeats`` steps, and of the step's multiply-adds at the limit."""
    import torch

    from data.sampler import BalancedBatchSampler
    from models.encoders.build import make_encoder
    from models.encoders.device import pick_device
    from models.runs.checkpoints import Run
    from models.runs.options.training import best_precision
    from models.training.loop import fit

    device, encoder = pick_device(args.gpu), make_encoder(model, 45)
    given = settings(args.recipe, model, args.per_class or PER_CLASS[model], compile=args.compile,
                     precision=args.precision or best_precision(device))
    rate = roofline(device, torch.bfloat16 if given.precision == "bf16" else torch.float32)
    macs, warm, records = multiply_adds(encoder), 2, []
    steps = warm + args.repeats + 1
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        noise = np.random.default_rng(0).integers(-3000, 3000, (CLIPS, SAMPLES), np.int16)
        clips = clips_of(Path(folder) / "clips.i16", noise, CLASSES)
        sampler = BalancedBatchSampler(clips.manifest.label, [], CLASSES, given.per_class, num_steps=steps)
        task = timed(records, device, lambda size: 3 * macs * size / rate())(encoder, given, steps)
        fit(task, Run(folder, "benchmark"), clips, sampler, device, lambda: 0.0)
    return records[warm:-1]


def plain(args, model: str) -> list[dict[str, float]]:
    """Seconds of forward and backward of the same network, as a textbook has them."""
    import torch

    from models.encoders.build import embed, make_encoder
    from models.losses import triplet_loss

    device = torch.device("cuda", args.gpu) if args.gpu < torch.cuda.device_count() else torch.device("cpu")
    encoder, rate = make_encoder(model, 45).to(device), roofline(device)
    encoder.by_parts = False
    per_class = args.per_class or PER_CLASS[model]
    work = 3 * multiply_adds(make_encoder(model, 45)) * CLASSES * per_class
    spectrograms = torch.randn(CLASSES * per_class, 64, FRAMES, device=device)
    labels, records = torch.arange(len(spectrograms), device=device) // per_class, []
    for _ in range(1 + args.repeats):  # the first is a warm-up
        limit = work / rate()
        began = time.perf_counter()
        encoder.zero_grad()
        triplet_loss(embed(encoder, spectrograms), labels, 0.5).loss.backward()
        synchronise(device)
        records.append({"network": time.perf_counter() - began, "limit": limit})
    return records[1:]


def row(model: str, clips: int, ours: list[dict], textbook: list[dict]) -> dict[str, object]:
    timing = {part: measure.Timing([record[part] for record in ours])
              for part in ("step", "forward", "backward", "front end", "limit")}
    network = measure.Timing([record["forward"] + record["backward"] for record in ours])
    shown = {"model": model, "clips": clips, **timing, "step / limit": timing["step"].over(timing["limit"]),
             "not network": f"{100 * (1 - network.over(timing['step'])):.1f} %"}
    if textbook:
        # Both in units of the limit measured beside them, so that the machine's drift falls out.
        slow = np.median([record["network"] / record["limit"] for record in textbook])
        shown |= {"plain PyTorch's network": measure.Timing([record["network"] for record in textbook]),
                  "plain / ours": float(slow / network.over(timing["limit"]))}
    return shown


def main() -> None:
    parser = measure.parser("step", __doc__, repeats=10)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["Res8", "Res15"])
    parser.add_argument("--per_class", type=int, help="clips of each of the 35 classes (default: 10, Res15 4)")
    parser.add_argument("--gpu", type=int, default=0, help="number of the GPU; without one, the CPU (default: 0)")
    parser.add_argument("--precision", choices=("32", "bf16"), help="(default: as TripletEncoder.py's)")
    parser.add_argument("--recipe", choices=tuple(RECIPES), default="paper", help="(default: paper)")
    parser.add_argument("--compile", action="store_true", help="as TripletEncoder.py's")
    parser.add_argument("--no_plain", action="store_true", help="leave plain PyTorch out")
    args = parser.parse_args()
    # Each in a process of its own: what `train` sets for the whole process must not help `plain`.
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        rows = [row(model, CLASSES * (args.per_class or PER_CLASS[model]), pool.apply(train, (args, model)),
                    [] if args.no_plain else pool.apply(plain, (args, model))) for model in args.models]
    measure.show("step", rows, args, precision=args.precision or "default", recipe=args.recipe)


if __name__ == "__main__":
    main()
