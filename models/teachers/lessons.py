"""A teacher's part in a training: what it says of the clips, and the loss that learns from it."""

from argparse import Namespace
from dataclasses import dataclass

import numpy as np
import torch

from data.audio.decoding import SAMPLE_RATE
from data.dataset import Clips, InOrder, scale
from models import parallel
from models.context import context_seconds
from models.encoders.device import place
from models.losses.distillation import Distillation
from models.teachers.kept import taught
from models.teachers.models import open_teacher

ALIGNED = 4_000  # clips by which the teacher's space is turned into a trained student's, or a projection is fitted
AT_ONCE = 64
RIDGE = 0.1


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
                                        encoder.parts).cpu() for batch in InOrder(len(rows), AT_ONCE)])


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
