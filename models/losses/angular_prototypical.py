"""The angular prototypical loss (Chung et al., 2020, arXiv:2003.11982)."""

import math

import torch
from torch import nn
from torch.nn import functional

from models.losses import figures


class AngularPrototypical(nn.Module):
    """Each class's last clip is recognised among the batch's classes by the means of their other clips. A batch has
    ``per_class`` clips of a class, at least 2, side by side. The ``scale`` of the cosines before the softmax is learnt,
    as its logarithm. The paper's bias drops out of the softmax, so there is none."""

    def __init__(self, per_class: int, scale: float):
        super().__init__()
        self.per_class = per_class
        self.scale = nn.ParameterDict({"log": torch.tensor(math.log(scale))})

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict]:
        """(B, D) and (B,) to the loss and its figures."""
        by_class = embeddings.view(-1, self.per_class, embeddings.shape[1])  # (C, P, D)
        queries, means = by_class[:, -1], functional.normalize(by_class[:, :-1].mean(1), dim=1)  # (C, D)
        scale = self.scale["log"].exp()
        logits = queries @ means.T * scale  # (C, C)
        own = torch.arange(len(queries), device=embeddings.device)
        loss = functional.cross_entropy(logits, own)
        return loss, {"loss": loss.detach(), "batch_accuracy": figures.own_share(logits.argmax(1), own),
                      "scale": scale.detach()} | figures.distances(embeddings, labels)
