"""The generalised end-to-end loss, softmax variant (Wan et al., 2018, arXiv:1710.10467)."""

import torch
from torch import nn
from torch.nn import functional

from models.losses import figures
from models.losses.learnt_scale import LearntScale


class GE2E(nn.Module):
    """Every clip is recognised among the batch's classes by their means, its own class's being that without it.

    Args:
        per_class: clips of a class, side by side in a batch; at least 2.
        scale: of the cosines before the softmax, at the beginning.
    """

    def __init__(self, per_class: int, scale: float):
        super().__init__()
        self.per_class, self.scale = per_class, LearntScale(scale)

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict]:
        """(B, D) and (B,) to the loss, a mean over clips, and its figures."""
        by_class = embeddings.view(-1, self.per_class, embeddings.shape[1])  # (C, P, D)
        sums = by_class.sum(1)
        others = functional.normalize(sums[:, None] - by_class, dim=2)  # (C, P, D), the means' directions without each
        own = torch.arange(len(embeddings), device=embeddings.device)[:, None] // self.per_class  # (B, 1)
        cosines = embeddings @ functional.normalize(sums, dim=1).T  # (B, C)
        logits = self.scale(cosines.scatter(1, own, (by_class * others).sum(2).view(-1, 1)))
        loss = functional.cross_entropy(logits, own[:, 0])
        return loss, {"loss": loss.detach(), "batch_accuracy": figures.own_share(logits.argmax(1), own[:, 0]),
                      "scale": self.scale.value.detach()} | figures.distances(embeddings, labels)
