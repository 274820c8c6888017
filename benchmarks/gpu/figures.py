"""How long training steps and embeddings take on a GPU, one way beside the other, and at the limit of the hardware.

The limit is the larger of two times: of the network's multiply-adds as large matrix products in the same arithmetic,
and of moving each convolution's output five times, which is written, read by the next layer, and read twice and written
once as gradients come back. Both are measured beside the steps. A step counts three forward passes.

All parts of `benchmarks.gpu` share `Here`, where they run, its sounds, arithmetic and stopwatch.
"""

import gc
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks import measure
from benchmarks.measure import Failed, multiply_adds, outputs, roofline, synchronise
from benchmarks.step import PER_CLASS, SAMPLES, clips_of, settings
from data.audio.dataset import ResidentClips, loader
from data.sampler import BalancedBatchSampler
from models.encoders.build import BATCH, BATCH_GPU, embed_clips, make_encoder
from models.encoders.device import place
from models.encoders.frontend import LogMel
from models.runs.options.training import LOSSES
from models.training.step import WARM

WIDTH = 45
PASSES = 5  # over a convolution's output


class Way(NamedTuple):
    """How a step is computed; ``flags`` are TripletEncoder.py's."""
    arithmetic: str = "bf16"
    padded: bool = True
    flags: dict[str, object] | None = None


WAYS = {"fp32": Way("fp32", False), "TF32": Way("TF32", False), "TF32, padded": Way("TF32"), "bf16": Way(padded=False),
        "bf16, padded": Way(), "bf16, graph": Way(padded=False, flags={"graph": True}),
        "bf16, padded, graph": Way(flags={"graph": True})}
BEST = ("bf16", "bf16, padded, graph")  # of them, what compiled steps and a batch ten times as large are held to
COMPILED = {"bf16, padded, compiled": Way(flags={"compile": True}),  # apart, for it may take minutes
            "bf16, padded, compiled, graph": Way(flags={"compile": True, "graph": True})}
DATA = {"plain": {}, "masks": {"spec_augment": "full"}, "shift and speed": {"shift": True, "speed": True},
        "rooms": {"reverb": 0.5}, "voices": {"babble": 0.3},
        "bands, gain, vocal tracts": {"band_limit": 0.3, "gain": 0.5, "vtlp": 0.5},
        "--augment": {"shift": True, "augment": True}}


@dataclass
class Here:
    """Where the parts run; on a CPU at a smaller size, and if ``quick`` so small that no time means anything."""

    device: torch.device
    quick: bool
    folder: Path

    def __post_init__(self):
        self.gpu = self.device.type == "cuda"
        self.classes, self.steps = (4, 4) if self.quick else (35, 200)  # steps: of a training by the scripts

    @cached_property
    def hiss(self) -> Path:
        """A folder with a recording of noise for --augment."""
        import soundfile

        folder = self.folder / "hiss"
        folder.mkdir(exist_ok=True)
        soundfile.write(folder / "hiss.wav", 0.1 * np.random.default_rng(0).standard_normal(40_000), 16_000, "PCM_16")
        return folder

    @cached_property
    def sounds(self):
        """Gliding tones of all pitches that swell and fade in a little noise, whose embeddings are compared."""
        rng, t, count = np.random.default_rng(0), np.arange(SAMPLES) / SAMPLES, 6 if self.quick else 96
        pitch, glide, middle = (rng.uniform(*bounds, (count, 1)) for bounds in ((150, 3500), (-200, 200), (0.3, 0.7)))
        tones = np.sin(2 * np.pi * (pitch + glide * t) * t) * np.exp(-(((t - middle) / 0.2) ** 2))
        made = 32768 * (0.3 * tones + 0.005 * rng.standard_normal(tones.shape))
        return clips_of(self.folder / "sounds.i16", made.astype(np.int16), self.classes)

    @cached_property
    def noise(self):
        """Noise to train on for the times of steps."""
        made = np.random.default_rng(0).integers(-3000, 3000, ((10 if self.quick else 200) * self.classes, SAMPLES),
                                                 np.int16)
        return clips_of(self.folder / "noise.i16", made, self.classes)


@contextmanager
def arithmetic(mode: str, matrices: bool = False) -> Iterator[None]:
    """Convolutions, and with ``matrices`` matrix products too, in full float32 or in TF32, which is only compared."""
    convolution, product = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolution.allow_tf32, product.allow_tf32, convolution.benchmark
    convolution.allow_tf32, product.allow_tf32 = mode != "fp32", mode == "TF32" and matrices
    convolution.benchmark = True  # as `fit`'s Trainer sets it
    try:
        yield
    finally:
        convolution.allow_tf32, product.allow_tf32, convolution.benchmark = before


def limit(here: Here, mode: str) -> float:
    """Multiply-adds a second of large matrix products in a mode's arithmetic, measured now."""
    with arithmetic(mode, matrices=True):
        bf16 = mode == "bf16" and not here.quick  # which some CPUs take a minute for
        return roofline(here.device, torch.bfloat16 if bf16 else torch.float32)()


def stopwatch(here: Here, work: Callable[[], object], seconds: float = 0.15) -> measure.Timing:
    return stopwatches(here, {"": work}, seconds)[""]


def stopwatches(here: Here, works: dict, seconds: float = 0.15) -> dict[str, measure.Timing]:
    """Seconds of several things by name, warm, from blocks of repeats that last about ``seconds`` each, in turn."""
    measure.in_turn(works, 1, here.device)  # warm
    if here.quick:
        return measure.in_turn(works, 1, here.device)
    once = {name: timing.median for name, timing in measure.in_turn(works, 2, here.device).items()}
    counts = {name: int(np.clip(seconds / took, 1, 100)) for name, took in once.items()}
    return measure.in_turn(works, 5 if sum(once.values()) < 0.3 else 3, here.device, counts)


def forget(here: Here) -> None:
    """Free the memory of what was measured, so that the next part finds the GPU empty."""
    gc.collect()
    if here.gpu:
        torch.cuda.empty_cache()


def steps_of(here: Here, model: str, way: Way, times: int = 1) -> tuple[object, Callable, Callable]:
    """The task of TripletEncoder.py with that way's flags, begun from seed 0, a function that does a step of it on
    resident audio, without the loop, and one that does all but augmentation again and again, on one batch: what
    ``--graph`` records."""
    from data.augment import NoiseBank
    from models.losses import make_loss
    from models.training.tasks import TripletTask

    torch.manual_seed(0)
    clips = 2 * min(times, 2) if here.quick else times * PER_CLASS[model]
    bf16 = way.arithmetic == "bf16" and not here.quick  # which some CPUs take a minute for
    args = settings("paper", model, clips, schedule="onecycle",  # which needs no NeMo
                    precision="bf16" if bf16 else "32", clip_seconds=1.0, loss_lr=1e-3, **(way.flags or {}))
    encoder = make_encoder(model, WIDTH)
    encoder.padded = way.padded
    noise = NoiseBank(here.hiss, 16_000, args.noise_snr) if args.augment else None
    task = TripletTask(encoder, args, 1_000_000, noise, make_loss(args))
    place(task, here.device, args.precision).train()
    sampler = BalancedBatchSampler(here.noise.manifest.label, [], here.classes, clips, num_steps=1_000_000)
    batches = iter(loader(ResidentClips.if_they_fit(here.noise, here.device), sampler))
    made = task.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]

    def prepared() -> tuple:
        return task.prepare([part.to(here.device, non_blocking=True) for part in next(batches)])

    def learn(batch: tuple) -> None:
        with arithmetic(way.arithmetic):
            loss, task.figures = (task.recorded or task.learn)(*batch)
            if task.recorded is None:
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()

    def once() -> None:
        learn(prepared())
        schedule.step()
        task.done += 1

    return task, once, partial(learn, prepared())


def fallen_back(task) -> str:
    """What of a task's way did not come about: no figure may be taken for that of another way."""
    compiled = task.args.compile and task.trained[0].call is task.encoder
    recorded = task.args.graph and (task.recorded is None or task.recorded.replay is None)
    return " (NOT COMPILED)" * compiled + " (NOT RECORDED)" * recorded


def compared(here: Here, model: str, ways: dict[str, Way], times: int = 1) -> list[dict[str, object]]:
    """A row for each way of a training step at ``times`` the paper's batch, timed in turn: the first steps, a step,
    what of it follows augmentation, and the limit."""
    torch.compiler.reset()  # else those of earlier parts count against the number of times that one may compile
    rows, built = {}, {}
    for name, way in ways.items():
        rows[name] = row = {"model": model, "way": name}
        forget(here)
        before = torch.cuda.memory_reserved(here.device) if here.gpu else 0
        try:
            task, once, learn = steps_of(here, model, way, times)
            row["clips"], began = here.classes * task.args.per_class, time.perf_counter()
            for _ in range(WARM + 1):
                once()
            synchronise(here.device)
            row["first steps"] = measure.duration(time.perf_counter() - began)
            row["way"] += fallen_back(task)
            if here.gpu:  # reserved, for what a graph holds does not count as allocated
                row["GB, audio included"] = (torch.cuda.memory_reserved(here.device) - before) / 1e9
            built |= {(name, "step"): once, (name, "front end and on"): learn}
        except torch.OutOfMemoryError:
            row["step"] = "out of memory"
        task = once = learn = None
    for (name, part), timing in stopwatches(here, built).items():
        rows[name][part] = timing
    built.clear()
    bounds = {mode: least(here, model, mode) for mode in {way.arithmetic for way in ways.values()}}
    for name, row in rows.items():
        if "front end and on" in row:
            bound = row["clips"] * bounds[ways[name].arithmetic]
            row |= {"limit": measure.duration(bound),
                    "front end and on / limit": row["front end and on"].median / bound}
    forget(here)
    return list(rows.values())


def least(here: Here, model: str, mode: str) -> float:
    """The time that a step's arithmetic or its memory traffic takes at least, seconds a clip; how fast memory is is
    measured now, by copying."""
    encoder = make_encoder(model, WIDTH)
    source = torch.zeros(1 << (30 if here.gpu else 24), dtype=torch.uint8, device=here.device)
    target = torch.empty_like(source)
    copied = 2 * len(source) / stopwatch(here, lambda: target.copy_(source)).median  # bytes a second
    moved = PASSES * (2 if mode == "bf16" else 4) * sum(values for values, _ in outputs(encoder))  # bytes
    return max(3 * multiply_adds(encoder) / limit(here, mode), moved / copied)


def data(here: Here) -> list[dict[str, object]]:
    """A step of Res8 with each augmentation over one without."""
    rows = compared(here, "Res8", {name: Way(flags={"graph": True} | flags) for name, flags in DATA.items()})
    return [{key: row[key] for key in ("way", "clips", "step")} | {"step / plain": row["step"].over(rows[0]["step"])}
            for row in rows]


def losses(here: Here) -> list[dict[str, object]]:
    """A step of Res8 by each loss."""
    return compared(here, "Res8", {loss: Way(flags={"loss": loss, "graph": True} | {
        flag: value for flag, value in values.items() if value is not None}) for loss, values in LOSSES.items()})


def agreement(here: Here, ways: dict[str, Way]) -> str:
    """Whether steps in the bf16 ``ways`` change the weights as plain steps do: all in float32, where rounding chooses
    few other triplets. Raises Failed, also if a way fell back on a GPU to the plain one."""
    def change(way: Way) -> np.ndarray:
        task, once, _ = steps_of(here, "Res8", way)
        before = [p.detach().clone() for p in task.encoder.parameters()]
        for _ in range(WARM + 4):
            once()
        if here.gpu and (lacking := fallen_back(task)):
            raise Failed(f"a step of {way}{lacking}")
        return torch.cat([(p - old).flatten() for p, old in zip(task.encoder.parameters(), before, strict=True)]
                         ).detach().cpu().double().numpy()

    torch.compiler.reset()
    plain, found = change(Way("fp32", False)), {}
    for name, way in ways.items():
        if way.arithmetic == "bf16":
            other = change(way._replace(arithmetic="fp32"))
            found[name] = float(np.linalg.norm(other - plain) / np.linalg.norm(plain))
    told = "by this share the weights' change differs in float32 (at most 0.02): " + "; ".join(
        f"{name.removeprefix('bf16, ')} {apart:.1e}" for name, apart in found.items())
    if not max(found.values()) <= 0.02:
        raise Failed(told)
    return told


def embedding(here: Here, model: str) -> list[dict[str, object]]:
    """Clips a second from packed audio to embeddings, in float32 as the test scripts do it, by size of batch, and where
    the audio lies."""
    torch.manual_seed(0)
    encoder, frontend, rows = make_encoder(model, WIDTH), LogMel().to(here.device), []
    clips = 8 if here.quick else len(here.noise) if here.gpu else 256
    work, encoder = multiply_adds(encoder) * clips, place(encoder, here.device)
    places = (("host", here.noise), ("device", ResidentClips(here.noise, here.device)))
    sizes = (4, 8) if here.quick else (32, BATCH, BATCH_GPU, 2048)
    for (where, audio), size in itertools.product(places, sizes):
        forget(here)
        with arithmetic("fp32"):
            timed = stopwatch(here, partial(embed_clips, encoder, frontend, audio, np.arange(clips), batch=size), 0)
        bound = work / limit(here, "fp32")
        rows.append({"model": model, "audio on": where, "clips": clips, "batch": size, "a pass": timed,
                     "clips/s": clips / timed.median, "limit": measure.duration(bound),
                     "pass / limit": timed.median / bound})
    return rows
