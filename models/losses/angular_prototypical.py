"""The angular prototypical loss (Chung et al., 2020, arXiv:2003.11982)."""

import math

import torch
from torch import nn
from torch.nn import functional

from models.losses import figures


class LearntScale(nn.Module):
    """Multiplies cosines by a positive number that is learnt, as its logarithm.

    The paper adds a bias, too. The same for all classes, it drops out of the softmax, so there is none here.
    """

    def __init__(self, scale: float):
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, cosines: torch.Tensor) -> torch.Tensor:
        return cosines * self.value

    @property
    def value(self) -> torch.Tensor:
        return self.log.exp()


class AngularPrototypical(nn.Module):
    """Each class's last clip is recognised among the batch's classes by the means of their other clips.

    What is learnt is what few-shot enrolment does: a clip against the means of a few.

    Args:
        per_class: clips of a class, side by side in a batch; at least 2.
        scale: of the cosines before the softmax, at the beginning.
    """

    def __init__(self, per_class: int, scale: float):
        super().__init__()
        self.per_class, self.scale = per_class, LearntScale(scale)

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict]:
        """(B, D) and (B,) to the loss and its figures."""
        by_class = embeddings.view(-1, self.per_class, embeddings.shape[1])  # (C, P, D)
        queries, means = by_class[:, -1], functional.normalize(by_class[:, :-1].mean(1), dim=1)  # (C, D)
        logits = self.scale(queries @ means.T)  # (C, C)
        own = torch.arange(len(queries), device=embeddings.device)
        loss = functional.cross_entropy(logits, own)
        return loss, {"loss": loss.detach(), "batch_accuracy": figures.own_share(logits.argmax(1), own),
                      "scale": self.scale.value.detach()} | figures.distances(embeddings, labels)
