"""The encoder of a command, by its flags: a run's checkpoint by torch, or an exported file by onnxruntime.

Both are the same to the rest: int16 waveforms in, unit embeddings out, and `Facts` that say which encoder it is. Torch
is imported only for a checkpoint.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from data.audio.decoding import SAMPLE_RATE, fit
from data.base.cores import cores
from data.base.errors import UserError, out_of_memory
from data.base.files import ROOT, open_regular
from data.base.values import whole
from models.context import ROW, context_seconds, rows_of
from models.enrolment.kept_cohort import Cohort, read_kept, unpack
from models.runs.checkpoints import encoder_digest
from models.runs.options.common import MODELS

SHIPPED = ROOT / "pretrained" / "words"  # the run folder of the encoder that comes with the project
# Windows embedded at once, counted from a recording's first, so that no score depends on how it is read.
BATCH = 16  # more take more memory and no less time on a CPU
SHARED_BATCH = 32  # of windows that share their work; of more, what lies between the layers leaves the cache
GPU_BATCH = 256
PROBE_MOST = 1e-3  # by which an export's embedding of `probe` may differ from the one that its metadata have
_SEAL = b"\x72\x4a\x0a\x06digest\x12\x40"  # ONNX's protobuf of a metadata entry "digest", whose 64 characters follow
_AGAIN = "write it again with python -m spotting.export"
# Of their JSON, see `data.base.files.misshapen`.
FACTS = {"path": str, "run": str, "model": str, "step": int, "sha256": str, "width": int, "clip_samples": int,
         "frontend": dict}


@dataclass(frozen=True)
class Facts:
    """Which encoder it is: from which file, and of which checkpoint, also if it was loaded from an export."""

    path: str
    run: str
    model: str
    step: int
    sha256: str
    width: int  # D, the size of an embedding
    clip_samples: int  # the length of what it embeds, at 16 kHz
    frontend: dict

    @property
    def clip_seconds(self) -> float:
        return self.clip_samples / SAMPLE_RATE

    @property
    def context_seconds(self) -> float:
        """Of a clip, what is heard at either end, but not averaged over."""
        return context_seconds(self.frontend.get("compression", "log"))

    @property
    def heard_samples(self) -> int:
        """Of a clip, what an embedding is the mean of."""
        return self.clip_samples - 2 * round(self.context_seconds * SAMPLE_RATE)

    @property
    def heard_seconds(self) -> float:
        return self.heard_samples / SAMPLE_RATE

    def clip_of(self, samples: np.ndarray) -> np.ndarray:
        """(T,) to (S,) samples: a recording cut or padded to the encoder's clip length."""
        return fit(samples, self.clip_samples, self.context_seconds > 0)

    def hop_samples(self, hop: float) -> int:
        """Seconds between windows in samples; where windows share rows of frames, the nearest whole number of rows.
        Raises UserError for --hop that leaves gaps between windows, or is less than a frame."""
        if not 0.01 <= hop <= self.heard_seconds:
            raise UserError(f"--hop {hop:g}: from 0.01 to {self.heard_seconds:g}, what the encoder hears of a window")
        return max(1, round(hop * SAMPLE_RATE / ROW)) * ROW if self.context_seconds else round(hop * SAMPLE_RATE)

    def __str__(self) -> str:
        return f"run {self.run!r}, {self.model}, step {self.step} (SHA-256 {self.sha256[:12]})"


@dataclass(frozen=True)
class Shared:
    """How windows that share rows of frames are embedded, which an encoder with context (`models.context`) allows: each
    row is computed once, and a window's embedding is made of the means over the rows in it.

    Attributes:
        rows: (S,) int16, S from a window's length on, to (R, C), the rows that have all their context.
        weight, bias: (D, P * C) and (D,), of the projection from the means over P stretches of a window.
        count: rows of a window.
    """

    rows: Callable[[np.ndarray], np.ndarray]
    weight: np.ndarray
    bias: np.ndarray
    count: int

    def pool(self, rows: np.ndarray, every: int) -> np.ndarray:
        """Unit embeddings (N, D) of the windows that begin at each ``every``-th of the rows (R, C)."""
        parts, first = self.weight.shape[1] // rows.shape[1], np.arange(0, len(rows) - self.count + 1, every)
        sums = np.concatenate([np.zeros((1, rows.shape[1])), rows.cumsum(0, dtype=np.float64)])
        bounds = [self.count * i // parts for i in range(parts + 1)]
        means = [(sums[first + end] - sums[first + start]) / (end - start) for start, end in pairwise(bounds)]
        found = np.concatenate(means, 1).astype(np.float32) @ self.weight.T + self.bias
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    def in_order(self, hop: int) -> Callable[[np.ndarray], np.ndarray]:
        """What embeds the windows of one sound, ``hop`` samples apart, a whole number of rows, that come in order: the
        next (B, S) int16 to (B, D)."""
        every, kept = hop // ROW, None

        def embed(clips: np.ndarray) -> np.ndarray:
            nonlocal kept
            samples = np.concatenate([clips[:-1, :hop].ravel(), clips[-1]])
            rows = self.rows(samples if kept is None else samples[len(kept) * ROW:])
            rows = rows if kept is None else np.concatenate([kept, rows])
            rows = rows[:(len(clips) - 1) * every + self.count]
            kept = rows[len(clips) * every:]
            return self.pool(rows, every)

        return embed


@dataclass(frozen=True)
class Embedder:
    """An encoder ready to use."""

    facts: Facts
    embed: Callable[[np.ndarray], np.ndarray]  # (B, S) int16, S = ``facts.clip_samples``, to (B, D) float32
    batch: int = BATCH
    cohort: Cohort | None = None  # what scores are held against, and what may whiten embeddings
    shared: Shared | None = None  # of an encoder whose windows share their work

    def __call__(self, waveforms: np.ndarray) -> np.ndarray:
        """(N, S) int16 to (N, D) float32 of length 1 that can be compared, ``batch`` at a time. Raises UserError: the
        encoder gives what is no embedding of length 1, as NaN is none."""
        parts = [self.embed(waveforms[i:i + self.batch]) for i in range(0, len(waveforms), self.batch)]
        return self._checked(np.concatenate([np.zeros((0, self.facts.width), np.float32), *parts]))

    def of_sound(self, hop: int) -> Callable[[np.ndarray], np.ndarray]:
        """What embeds the windows of one sound, ``hop`` samples apart, a batch after the other: as calling this does,
        but what windows share is computed once."""
        if self.shared is None or hop % ROW:
            return self
        in_order = self.shared.in_order(hop)
        return lambda clips: self._checked(in_order(clips))

    def _checked(self, found: np.ndarray) -> np.ndarray:
        if not (np.abs(np.linalg.norm(found, axis=1) - 1) < 1e-3).all():
            raise UserError(f"{self.facts.path}: gives embeddings that are not numbers, or not of length 1")
        return found if self.cohort is None else self.cohort.whitened(found)


def add_encoder(parser: argparse.ArgumentParser, default: str, onnx: bool = True) -> None:
    """The flags that name an encoder. ``default`` says what is taken without any."""
    group = parser.add_argument_group("encoder", f"Without any of these flags: {default}.")
    names = group.add_mutually_exclusive_group()
    names.add_argument("--name", help="run of the encoder")
    names.add_argument("--encoder", type=Path, metavar="PATH",
                       help="instead of --name: a run's folder, or a checkpoint <Model>-STEP-<n>.pt")
    if onnx:
        names.add_argument("--onnx", type=Path, metavar="FILE",
                           help="instead of --name: a file that spotting.export wrote; needs neither torch nor NeMo")
    group.add_argument("--runs_dir", type=Path, default=Path("runs"), help="where runs lie (default: runs)")
    group.add_argument("--model", choices=MODELS, help="the encoder (default: the only one that the run has)")
    group.add_argument("--enc_step", type=whole, help="step of the encoder's checkpoint (default: the newest)")
    group.add_argument("--gpu", type=whole, default=0, help="number of the GPU; without one, the CPU (default: 0)")


def load(args: argparse.Namespace, recorded: Facts | None = None) -> Embedder:
    """The encoder that the flags name; without any, the one that a words file records, or else the shipped one; and the
    cohort that is kept beside it, or in its export. Raises UserError: it cannot be loaded."""
    onnx, source = getattr(args, "onnx", None), args.runs_dir / args.name if args.name else args.encoder
    path = source or onnx or (Path(recorded.path) if recorded else SHIPPED)
    if onnx or (source is None and path.suffix == ".onnx"):
        return load_onnx(path)
    return load_torch(path, args.enc_step, args.model, args.gpu)


def load_torch(source: Path, step: int | None, model: str | None, gpu: int) -> Embedder:
    """A run's encoder. Raises UserError as `models.encoders.load_encoder` and `read_kept` of its cohort do."""
    from models.encoders.load import find_checkpoint

    run, model, step = find_checkpoint(source, step, model, "--enc_step")  # before torch, which takes seconds
    import torch

    from models.encoders import load_encoder
    from models.encoders.device import pick_device, place
    from models.encoders.frontend import settings

    path = run.path(model, step)
    encoder = load_encoder(path)
    facts = Facts(str(path), run.name, model, step, encoder_digest(path), encoder.width, encoder.clip_samples,
                  settings(encoder.frontend.compression))
    cohort, device = read_kept(path, facts.sha256, facts.width, facts), pick_device(gpu)
    encoder = place(encoder, device)

    def embed(waveforms: np.ndarray) -> np.ndarray:
        return encoder(torch.from_numpy(np.array(waveforms))).cpu().numpy()

    def rows(samples: np.ndarray) -> np.ndarray:
        return encoder.rows(torch.from_numpy(np.array(samples))[None])[0].cpu().numpy()

    shared = Shared(rows, *encoder.projection(), rows_of(facts.clip_samples)) if facts.context_seconds else None
    batch = GPU_BATCH if device.type != "cpu" else SHARED_BATCH if shared else BATCH
    return Embedder(facts, embed, batch, cohort, shared)


def sealed(content: bytes) -> bytes:
    """An ONNX file with the SHA-256 of its bytes as a last metadata entry, by which a changed bit is told."""
    return content + _SEAL + hashlib.sha256(content).hexdigest().encode()


def probe(clip_samples: int) -> np.ndarray:
    """(1, S) int16: a rising sawtooth up to 2 kHz a second, in whole numbers, so that it is the same everywhere."""
    n = np.arange(clip_samples)
    return (n * n // 8 % 32768 - 16384).astype(np.int16)[None]


def load_onnx(path: Path, content: bytes | None = None) -> Embedder:
    """An exported encoder, which gives the embedding of `probe` that its metadata have; ``content`` if its file is not
    written yet. Raises OSError, or UserError: not as spotting.export wrote it, or onnxruntime is not installed or
    computes otherwise."""
    if content is None:
        with open_regular(path) as file:
            content = file.read()
    if content != sealed(content[:-len(sealed(b""))]):
        raise UserError(f"{path}: is not as this version's export writes it: changed, or cut short; {_AGAIN}")
    try:
        import onnxruntime
    except ImportError:
        raise UserError("--onnx needs onnxruntime: pip install -r requirements-spotting.txt") from None
    options = onnxruntime.SessionOptions()
    threads = os.environ.get("OMP_NUM_THREADS", "")
    options.intra_op_num_threads = int(threads) if threads.isdecimal() else cores()
    options.log_severity_level = 4  # what is wrong is said below

    def run(output: str, waveforms: np.ndarray) -> np.ndarray:
        return session.run([output], {"waveforms": waveforms.astype(np.float32) / np.float32(32768)})[0]

    def floats(name: str) -> np.ndarray:
        return np.frombuffer(base64.b64decode(about[name]), "<f4")

    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        about = session.get_modelmeta().custom_metadata_map
        facts = Facts(str(path.absolute()), about["run"], about["model"], int(about["step"]), about["sha256"],
                      int(about["width"]), int(about["clip_samples"]), json.loads(about["frontend"]))
        if about["sample_rate"] != str(SAMPLE_RATE):
            raise ValueError(f"it is not for {SAMPLE_RATE} Hz")
        cohort = unpack(base64.b64decode(about["cohort"]), facts.sha256, facts.width) if "cohort" in about else None
        if isinstance(cohort, str):
            raise ValueError(f"its cohort {cohort}")
        shared = Shared(lambda samples: run("rows", samples[None])[0], floats("weight").reshape(facts.width, -1),
                        floats("bias"), rows_of(facts.clip_samples)) if facts.context_seconds else None
        wanted, found = floats("probe")[None], run("embeddings", probe(facts.clip_samples))
        if not found.shape == wanted.shape == (1, facts.width) or not np.abs(found - wanted).max() <= PROBE_MOST:
            raise ValueError(f"by onnxruntime {onnxruntime.__version__} it does not give its encoder's embeddings")
    except Exception as error:  # onnxruntime has a class of its own for every kind of damage
        if out_of_memory(error):
            raise
        raise UserError(f"{path}: cannot be used ({type(error).__name__}: {' '.join(str(error).split())[:100]}); "
                        f"{_AGAIN}") from None
    return Embedder(facts, partial(run, "embeddings"), SHARED_BATCH if shared else BATCH, cohort, shared)
