"""What a student learns from a teacher's embeddings, without labels.

The cosine to the teacher's embedding, and the relations of a batch's clips to one another (Park et al., "Relational
Knowledge Distillation", 2019, here of cosines).
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

RELATIONS = 5.0  # weight of the relations beside the cosine
SAMPLE = 20_000  # clips that the principal components are found from


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
