"""A teacher's part in a training: what it says of the clips, computed once and kept, and the loss that learns from it.

The loss needs no labels: it is the cosine to the teacher's embedding, and the relations of a batch's clips to one
another (Park et al., "Relational Knowledge Distillation", 2019, here of cosines).
"""

import hashlib
import os
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from data.audio.dataset import Clips, InOrder, ResidentClips, scale, send
from data.audio.decoding import SAMPLE_RATE
from data.base.errors import UserError
from data.base.files import lock
from models import parallel
from models.context import context_seconds
from models.encoders.device import place
from models.teachers.models import Teacher, open_teacher

AT_ONCE = 32  # clips between two writes
RELATIONS = 5.0  # weight of the relations beside the cosine
SAMPLE = 20_000  # clips that the principal components are found from
ALIGNED = 4_000  # clips by which the teacher's space is turned into a trained student's, or a projection is fitted
BATCH = 64  # clips embedded at once for it
RIDGE = 0.1


def taught(teacher: Teacher, clips: Clips, name: str, cache_dir: str | Path, context: int = 0) -> np.ndarray:
    """The teacher's embeddings of the clips as they are, without augmentation: (N, T) float16, memory-mapped.

    It does not hear ``context`` samples at either end. They are kept under a digest of the clips' samples and of the
    teacher, so other clips are heard anew. A killed call goes on where it was. Raises UserError where the teacher gives
    no number."""
    path = Path(cache_dir) / f"{name.replace(os.sep, '_')}-taught-{_digest(teacher, clips, context)}.f16"
    row = 2 * teacher.size  # bytes

    def whole() -> bool:
        return path.is_file() and path.stat().st_size == row * len(clips)

    if not whole():
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_suffix(".part"), "ab") as part:
            lock(part, wait=True)
            if not whole():  # else another process has just made it
                _go_on(teacher, clips, context, name, part, row)
                os.replace(part.name, path)
    return np.memmap(path, np.float16, "r", shape=(len(clips), teacher.size))


def _go_on(teacher: Teacher, clips: Clips, context: int, name: str, part, row: int) -> None:
    done = part.tell() // row
    part.truncate(done * row)  # a row may have been cut in the middle
    rows = np.arange(done, len(clips))
    with tqdm(total=len(clips), initial=done, desc=f"{teacher.name} hears {name}", unit=" clips", disable=None,
              leave=False) as progress:
        for batch in InOrder(len(rows), AT_ONCE):
            waveforms = clips[rows[batch]][0].numpy()
            embeddings = teacher.embed(waveforms[:, context:waveforms.shape[1] - context])
            length = np.linalg.norm(embeddings, axis=1, keepdims=True)
            if not (np.isfinite(length) & (length > 0)).all():
                raise UserError(f"--teacher {teacher.name}: gives no embedding of "
                                f"{clips.manifest.files[clips.manifest.file[rows[batch][0]]]} or one of the "
                                f"{len(batch)} clips from there; leave it out, or take another teacher")
            part.write((embeddings / length).astype(np.float16).tobytes())
            part.flush()
            progress.update(len(batch))


def _digest(teacher: Teacher, clips: Clips, context: int) -> str:
    digest = hashlib.sha256(teacher.digest.encode() + b"%d" % context * (context > 0))
    for values in (clips.packed.samples, clips.packed.start[clips.rows], clips.packed.length[clips.rows],
                   np.array([clips.packed.clip_samples])):
        digest.update(np.ascontiguousarray(values).view(np.uint8))
    return digest.hexdigest()[:16]


class Taught(torch.utils.data.Dataset):
    """Clips with what the teacher said of each: waveforms (B, S), classes (B,), embeddings (B, T) float16."""

    def __init__(self, clips: Clips | ResidentClips, embeddings: np.ndarray):
        self.clips, self.embeddings = clips, embeddings

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, indices) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        said = torch.from_numpy(self.embeddings[np.asarray(indices)])
        waveforms, labels = self.clips[indices]
        return waveforms, labels, send(said, waveforms.device)


class Distillation(nn.Module):
    """1 - cosine of student and teacher, plus 5 times the mean squared difference of their matrices of cosines.

    The teacher's embeddings are compared in as many numbers as the student has: their mean is taken off, and their
    first principal components are kept, turned into the student's space where it has learned before. ``teacher`` and
    ``student`` are the sizes of embeddings, T and D."""

    def __init__(self, teacher: int, student: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(teacher))
        self.register_buffer("projection", torch.zeros(teacher, student))

    def settle(self, embeddings: np.ndarray, students: np.ndarray | None = None,
               rows: np.ndarray | None = None) -> None:
        """Find the projection from the teacher's embeddings (N, T) of the training clips. It is turned to come as near
        as it can (orthogonal Procrustes) to ``students`` (n, D), what a trained student gives the clips at ``rows``."""
        some = np.linspace(0, len(embeddings) - 1, min(SAMPLE, len(embeddings))).astype(np.int64)
        sample = torch.from_numpy(np.asarray(embeddings[some], np.float32)).double()
        mean = sample.mean(0)
        _, axes = torch.linalg.eigh((sample - mean).T @ (sample - mean))  # ascending
        axes = axes.flip(1)[:, :self.projection.shape[1]]  # (T, D), or fewer columns if T < D
        projection = functional.pad(axes, (0, self.projection.shape[1] - axes.shape[1]))
        if students is not None:
            own = (torch.from_numpy(np.asarray(embeddings[rows])).double() - mean) @ projection
            own = functional.normalize(own, dim=1)
            left, _, right = torch.linalg.svd(own.T @ torch.from_numpy(students).double())
            projection = projection @ left @ right
        self.mean.copy_(mean)
        self.projection.copy_(projection)

    def targets(self, taught: torch.Tensor) -> torch.Tensor:
        """(B, T) to unit vectors (B, D)."""
        return functional.normalize((taught.float() - self.mean) @ self.projection, dim=1)

    def forward(self, embeddings: torch.Tensor, taught: torch.Tensor) -> tuple[torch.Tensor, dict]:
        """Unit embeddings (B, D) and the teacher's (B, T) to the loss and its figures."""
        targets = self.targets(taught)
        cosine = (embeddings * targets).sum(1).mean()
        relations = (embeddings @ embeddings.T - targets @ targets.T).square().mean()
        return 1 - cosine + RELATIONS * relations, {"cosine": cosine.detach(), "relations": relations.detach()}


@dataclass
class Lessons:
    """What a teacher says of the training and dev clips, (N, T) each, and the loss; ``digest`` is its model's."""

    train: np.ndarray
    dev: np.ndarray
    distillation: Distillation
    digest: str

    def begin(self, task, train: Clips, trained: bool, projects_anew: bool, device: torch.device) -> None:
        """Find the numbers of the teacher's embeddings to learn, before the first step. ``trained`` says whether the
        encoder begins with weights of its own, in whose space they are then sought; if it ``projects_anew``, its
        projection is fitted to them instead."""
        rows = np.linspace(0, len(train) - 1, min(ALIGNED, len(train))).astype(np.int64)
        if trained:
            place(task, device)
        turned = (task.embed(train, rows, "train"), rows) if trained and not projects_anew else ()
        self.distillation.settle(self.train, *turned)
        if projects_anew:
            means = means_of(task.encoder, task.frontend, train, rows)
            fit_projection(task.encoder.project, means, self.distillation.targets(torch.from_numpy(self.train[rows])))


def means_of(encoder: torch.nn.Module, frontend: torch.nn.Module, clips: Clips, rows: np.ndarray) -> torch.Tensor:
    """(n, P * C), what the encoder's projection is given of the clips at ``rows``."""
    encoder.eval()
    frontend.eval()
    with torch.no_grad():
        return torch.cat([encoder.means(frontend(scale(clips[rows[batch]][0].to(frontend.window.device))),
                                        encoder.parts).cpu() for batch in InOrder(len(rows), BATCH)])


def fit_projection(project: torch.nn.Linear, means: torch.Tensor, targets: torch.Tensor) -> None:
    """Set a projection by least squares, with a ridge of a tenth of a mean's variance, so that clips' means (n, P * C)
    become the teacher's unit embeddings (n, D)."""
    means, targets = means.double(), targets.double()
    centred, wanted = means - means.mean(0), targets - targets.mean(0)
    ridge = RIDGE * len(means) * centred.var(0).mean() * torch.eye(means.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(centred.T @ centred + ridge, centred.T @ wanted)
    with torch.no_grad():
        project.weight.copy_(weight.T)
        project.bias.copy_(targets.mean(0) - means.mean(0) @ weight)


def attend(args: Namespace, name: str, train: Clips, dev: Clips) -> Lessons:
    """Let ``args.teacher`` hear the clips of the data set ``name``, those excepted that it has heard."""
    with parallel.first():
        teacher = open_teacher(args.teacher)
        context = round(context_seconds(args.compression) * SAMPLE_RATE)
        heard = [taught(teacher, clips, f"{name}-{split}", args.cache_dir, context)
                 for clips, split in ((train, "train"), (dev, "dev"))]
    return Lessons(*heard, Distillation(teacher.size, args.embedding_size), teacher.digest)
