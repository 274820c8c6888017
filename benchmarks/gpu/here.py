"""What the checks and figures of `benchmarks.gpu` share: where they run, sounds to run on, arithmetic, a stopwatch."""

import importlib.util
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from benchmarks import measure
from data.base.files import ROOT
from models.roofline import synchronise

SAMPLES = 16_000
MODES = ("fp32", "TF32", "bf16", "compiled bf16")  # of the network; TF32 only to compare


class Failed(Exception):
    """A check did not hold; the message says by how much."""


class Skipped(Exception):
    """A part cannot be done here; the message says why."""


@dataclass
class Here:
    """Where the parts run, and how large.

    Attributes:
        device: a torch device; without a GPU, the CPU, on which all parts take the same code at a smaller size.
        quick: sizes at which everything is done but no figure means anything.
        folder: scratch.
        checkpoints: folder of published runs, if given.
        steps: seconds of a training step that were measured, by model and mode at the paper's batch.
        noted: other seconds that were measured, by name.
    """

    device: object
    quick: bool
    folder: Path
    checkpoints: Path | None = None
    steps: dict[tuple[str, str], float] = field(default_factory=dict)
    noted: dict[str, float] = field(default_factory=dict)

    @property
    def gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def classes(self) -> int:
        return 4 if self.quick else 35

    @cached_property
    def sounds(self):
        """Gliding tones in noise, to compare embeddings on: a few on a CPU, which takes a second for 40 of Res15's."""
        return clips_of(self.folder / "sounds.i16", sounds(6 if self.quick else 96), self.classes)

    @cached_property
    def noise(self):
        """Noise, to train on for its step times, of as many classes as a batch has."""
        count = 10 * self.classes if self.quick else 200 * self.classes
        made = np.random.default_rng(0).integers(-3000, 3000, (count, SAMPLES), np.int16)
        return clips_of(self.folder / "noise.i16", made, self.classes)

    @cached_property
    def resident(self):
        """`noise` on the GPU, as `fit` has it; on a CPU as it is."""
        from data.dataset import ResidentClips

        return ResidentClips.if_they_fit(self.noise, self.device)

    def modes(self, compiled: bool) -> tuple[str, ...]:
        """Those there are here. On a CPU TF32 is fp32, and compiling takes long for nothing."""
        if self.gpu:
            return MODES[3:] if compiled else MODES[:3]
        return () if compiled else ("fp32", "bf16")


def sounds(count: int) -> np.ndarray:
    """(count, 16000) int16: each two gliding tones of its own in a little noise."""
    rng = np.random.default_rng(0)
    t = np.arange(SAMPLES) / SAMPLES
    first, second = rng.uniform(150, 900, (count, 1)), rng.uniform(900, 3500, (count, 1))
    glide = rng.uniform(-200, 200, (count, 1))
    tones = np.sin(2 * np.pi * (first + glide * t) * t) + 0.5 * np.sin(2 * np.pi * (second - glide * t) * t)
    envelope = np.exp(-(((t - rng.uniform(0.3, 0.7, (count, 1))) / 0.2) ** 2))
    return (32768 * (0.2 * envelope * tones + 0.005 * rng.standard_normal(tones.shape))).astype(np.int16)


def clips_of(path: Path, samples: np.ndarray, classes: int):
    """(N, S) int16 as the packed, mapped clips that the scripts read, ``classes`` taking turns."""
    from data.audio import PackedClips
    from data.dataset import Clips

    samples.tofile(path)
    count, length = samples.shape
    packed = PackedClips(np.memmap(path, np.int16, "r"), np.arange(count) * length, np.full(count, length), length, {})
    return Clips(packed, SimpleNamespace(label=np.arange(count) % classes), np.arange(count))


@contextmanager
def arithmetic(mode: str, matrices: bool = False) -> Iterator[None]:
    """Convolutions, and with ``matrices`` matrix products too, in full float32 or in TF32; cuDNN tries its ways.

    In training only convolutions take TF32: mining compares distances, which are matrix products.
    """
    import torch

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
    import torch

    from models.roofline import roofline

    with arithmetic(mode, matrices=True):
        return roofline(here.device, torch.bfloat16 if "bf16" in mode else torch.float32)()


def stopwatch(here: Here, work: Callable[[], object], seconds: float = 0.15) -> measure.Timing:
    """Seconds of ``work`` when done again and again: blocks of so many that one lasts about ``seconds``, warm."""
    def block(count: int) -> float:
        synchronise(here.device)
        began = time.perf_counter()
        for _ in range(count):
            work()
        synchronise(here.device)
        return (time.perf_counter() - began) / count

    block(1)
    if here.quick:
        return measure.Timing([block(1)])
    once = block(2)
    return measure.Timing([block(int(np.clip(seconds / once, 1, 100))) for _ in range(5 if once < 0.3 else 3)])


def script(*command: str, timeout: float = 150) -> tuple[float, str]:
    """Run ``python *command`` in the project's folder: seconds, and what it printed.

    Raises:
        Skipped: a package that it needs is not installed.
        Failed: it ended with an error, or took too long.
    """
    began = time.perf_counter()
    try:
        done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True,
                              timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Failed(f"{command[0]} took more than {timeout:.0f} s") from None
    if done.returncode:
        if missing := missing_package(done.stderr):
            raise Skipped(missing)
        lines = done.stderr.strip().splitlines() or [""]
        raise Failed(f"{command[0]} ended with code {done.returncode}: {lines[-1]}")
    return time.perf_counter() - began, done.stdout


def missing_package(said: str) -> str | None:
    """Which package an error says is not installed; None for part of one that is there, the project's own included."""
    found = re.search(r"No module named '(\w+)", said)
    if found is None or importlib.util.find_spec(found[1]):
        return None
    return f"{found[1]} is not installed"
