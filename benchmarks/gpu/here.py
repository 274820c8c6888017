"""What the parts of `benchmarks.gpu` share: where they run, sounds, arithmetic, a stopwatch, the scripts."""

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from benchmarks import measure
from benchmarks.roofline import roofline, synchronise
from benchmarks.step import SAMPLES, clips_of
from data.base.files import ROOT

WIDTH = 45


class Failed(Exception):
    """A check did not hold; the message says by how much."""


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
    """(count, 16000) int16: each two gliding tones of its own in a little noise."""
    rng = np.random.default_rng(0)
    t = np.arange(SAMPLES) / SAMPLES
    first, second = rng.uniform(150, 900, (count, 1)), rng.uniform(900, 3500, (count, 1))
    glide = rng.uniform(-200, 200, (count, 1))
    tones = np.sin(2 * np.pi * (first + glide * t) * t) + 0.5 * np.sin(2 * np.pi * (second - glide * t) * t)
    envelope = np.exp(-(((t - rng.uniform(0.3, 0.7, (count, 1))) / 0.2) ** 2))
    return (32768 * (0.2 * envelope * tones + 0.005 * rng.standard_normal(tones.shape))).astype(np.int16)


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
    """Seconds of ``work``, warm, from blocks of repeats that last about ``seconds`` each."""
    return stopwatches(here, {"": work}, seconds)[""]


def stopwatches(here: Here, works: dict, seconds: float = 0.15) -> dict:
    """Those of several things by name, block by block in turn, so that a slow moment meets them all."""
    def block(work: Callable[[], object], count: int) -> float:
        synchronise(here.device)
        began = time.perf_counter()
        for _ in range(count):
            work()
        synchronise(here.device)
        return (time.perf_counter() - began) / count

    for work in works.values():
        block(work, 1)
    once = {name: 0.0 if here.quick else block(work, 2) for name, work in works.items()}
    counts = {name: 1 if here.quick else int(np.clip(seconds / took, 1, 100)) for name, took in once.items()}
    repeats = 1 if here.quick else 5 if sum(once.values()) < 0.3 else 3
    blocks = [{name: block(work, counts[name]) for name, work in works.items()} for _ in range(repeats)]
    return {name: measure.Timing([one[name] for one in blocks]) for name in works}


def forget(here: Here) -> None:
    """Free the memory of what was measured, so that the next part finds the GPU empty."""
    gc.collect()
    if here.gpu:
        torch.cuda.empty_cache()


def script(*command: str, timeout: float = 150) -> tuple[float, str]:
    """Run ``python *command`` in the project's folder: seconds, and what it printed. Raises Failed with its last line.
    """
    began = time.perf_counter()
    try:
        done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True,
                              timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Failed(f"{command[0]} took more than {timeout:.0f} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise Failed(f"{command[0]} ended with code {done.returncode}: {last}")
    return time.perf_counter() - began, done.stdout
