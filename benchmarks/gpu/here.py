"""What the parts of `benchmarks.gpu` share: where they run, sounds, arithmetic, a stopwatch."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from benchmarks import measure
from benchmarks.measure import roofline
from benchmarks.step import SAMPLES, clips_of

WIDTH = 45


class Skipped(Exception):
    """A part cannot be done here; the message says why."""


@dataclass
class Here:
    """Where the parts run; on a CPU at a smaller size, and if ``quick`` so small that no time means anything."""

    device: torch.device
    quick: bool
    folder: Path

    @property
    def gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def classes(self) -> int:
        return 4 if self.quick else 35

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
        """Gliding tones in noise, whose embeddings are compared."""
        return clips_of(self.folder / "sounds.i16", sounds(6 if self.quick else 96), self.classes)

    @cached_property
    def noise(self):
        """Noise to train on for the times of steps."""
        made = np.random.default_rng(0).integers(-3000, 3000, ((10 if self.quick else 200) * self.classes, SAMPLES),
                                                 np.int16)
        return clips_of(self.folder / "noise.i16", made, self.classes)


def sounds(count: int) -> np.ndarray:
    """(count, 16000) int16: each a gliding tone of its own that swells and fades, in a little noise."""
    rng, t = np.random.default_rng(0), np.arange(SAMPLES) / SAMPLES
    pitch, glide, middle = (rng.uniform(*bounds, (count, 1)) for bounds in ((150, 3500), (-200, 200), (0.3, 0.7)))
    tones = np.sin(2 * np.pi * (pitch + glide * t) * t) * np.exp(-(((t - middle) / 0.2) ** 2))
    return (32768 * (0.3 * tones + 0.005 * rng.standard_normal(tones.shape))).astype(np.int16)


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


def copied(here: Here) -> float:
    """Bytes a second that memory gives and takes, measured now by copying."""
    source = torch.zeros(1 << (30 if here.gpu else 24), dtype=torch.uint8, device=here.device)
    target = torch.empty_like(source)
    return 2 * len(source) / stopwatch(here, lambda: target.copy_(source)).median


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
