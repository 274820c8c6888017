"""A teacher's part in a training: what it says of the clips, and the loss that learns from it."""

from argparse import Namespace
from dataclasses import dataclass

import numpy as np
import torch

from data.dataset import Clips
from models import parallel
from models.encoders.device import place
from models.losses.distillation import Distillation
from models.teachers.kept import taught
from models.teachers.models import open_teacher

ALIGNED = 2_000  # clips by which the teacher's space is turned into a trained student's


@dataclass
class Lessons:
    """What a teacher says of the training and dev clips, (N, T) each, and the loss; ``digest`` is its model's."""

    train: np.ndarray
    dev: np.ndarray
    distillation: Distillation
    digest: str

    def begin(self, task, train: Clips, trained: bool, device: torch.device) -> None:
        """Find the numbers of the teacher's embeddings to learn, before the first step; ``trained`` says whether the
        encoder begins with weights of its own, in whose space they are then sought."""
        rows, students = None, None
        if trained:
            place(task, device)
            rows = np.linspace(0, len(train) - 1, min(ALIGNED, len(train))).astype(np.int64)
            students = task.embed(train, rows, "train")
        self.distillation.settle(self.train, students, rows)


def attend(args: Namespace, name: str, train: Clips, dev: Clips) -> Lessons:
    """Let ``args.teacher`` hear the clips of the data set ``name``, those excepted that it has heard."""
    with parallel.first():
        teacher = open_teacher(args.teacher)
        heard = [taught(teacher, clips, f"{name}-{split}", args.cache_dir)
                 for clips, split in ((train, "train"), (dev, "dev"))]
    return Lessons(*heard, Distillation(teacher.size, args.embedding_size), teacher.digest)
