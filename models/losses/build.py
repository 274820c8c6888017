"""The losses that the triplet loss is compared with, by name. Each sees a whole batch of unit embeddings.

Called with embeddings (B, D) and classes (B,), they return the loss and figures for the log, all scalar tensors on the
embeddings' device, so that nothing waits for it: that is why pairs are masks, and not pytorch-metric-learning's lists.
"""

import math
from argparse import Namespace

import torch
from torch import nn
from torch.nn import functional

from models.losses.triplet import squared_distances

EPSILON = 0.1  # by how much a pair may miss the hardest of the other kind and still count in `MultiSimilarity`


def make_loss(args: Namespace) -> nn.Module | None:
    """The loss of ``args.loss``, its flags resolved; None for the triplet loss, which learns nothing."""
    if args.loss == "angular_prototypical":
        return AngularPrototypical(args.per_class, args.scale)
    if args.loss == "supcon":
        return SupervisedContrastive(args.scale)
    return MultiSimilarity() if args.loss == "multi_similarity" else None


class AngularPrototypical(nn.Module):
    """Each class's last clip is recognised among the batch's classes by the means of their other clips (Chung et al.,
    2020, arXiv:2003.11982). A batch has ``per_class`` clips of a class, at least 2, side by side. The ``scale`` of the
    cosines is learnt, as its logarithm. The paper's bias drops out of the softmax, so there is none."""

    def __init__(self, per_class: int, scale: float):
        super().__init__()
        self.per_class = per_class
        self.scale = nn.ParameterDict({"log": torch.tensor(math.log(scale))})

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict]:
        by_class = embeddings.view(-1, self.per_class, embeddings.shape[1])  # (C, P, D)
        queries, means = by_class[:, -1], functional.normalize(by_class[:, :-1].mean(1), dim=1)  # (C, D)
        scale = self.scale["log"].exp()
        logits = queries @ means.T * scale  # (C, C)
        own = torch.arange(len(queries), device=embeddings.device)
        loss = functional.cross_entropy(logits, own)
        return loss, {"loss": loss.detach(), "batch_accuracy": (logits.argmax(1) == own).float().mean(),
                      "scale": scale.detach()} | distances(embeddings, labels)


class SupervisedContrastive(nn.Module):
    """For each clip, a softmax over all others of the batch: the mean log-probability of those of its class (Khosla et
    al., 2020, arXiv:2004.11362, the sum outside the logarithm). ``scale`` is one over the paper's temperature."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict]:
        cosines = embeddings @ embeddings.T
        same, itself = pairs(labels)
        logs = (self.scale * cosines).masked_fill(itself, -torch.inf).log_softmax(1)
        positive = same & ~itself
        loss = -(logs.masked_fill(~positive, 0).sum(1) / positive.sum(1).clamp_min(1)).mean()
        return loss, {"loss": loss.detach(), "batch_accuracy": nearest_is_own(cosines, labels)} \
            | distances(embeddings, labels)


class MultiSimilarity(nn.Module):
    """Pairs are weighted by their similarity and by that of the clip's other pairs; only hard ones count (Wang et al.,
    2019, arXiv:1904.06627). The constants are pytorch-metric-learning's (alpha 2, beta 50, base 0.5)."""

    def __init__(self):
        super().__init__()
        from pytorch_metric_learning.losses import MultiSimilarityLoss  # two seconds

        self.weighted = MultiSimilarityLoss()

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict]:
        cosines = self.weighted.distance(embeddings)  # (B, B)
        positive, negative = hard_pairs(cosines.detach(), labels)
        loss = self.weighted._compute_loss(cosines, positive, negative)["loss"]["losses"].mean()
        active = (positive.sum() + negative.sum()) / (len(labels) * (len(labels) - 1))
        return loss, {"loss": loss.detach(), "active": active,
                      "batch_accuracy": nearest_is_own(cosines, labels)} | distances(embeddings, labels)


def hard_pairs(cosines: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which pairs of one class and which of two classes count: two (B, B) bools, a clip's pairs in its row. Of one
    class, those less similar than the clip's most similar pair of two classes plus 0.1; of two classes, those more
    similar than its least similar pair of one class less 0.1."""
    same, itself = pairs(labels)
    nearest = cosines.masked_fill(same, -torch.inf).amax(1, keepdim=True)  # (B, 1)
    farthest = cosines.masked_fill(~same | itself, torch.inf).amin(1, keepdim=True)
    return same & ~itself & (cosines < nearest + EPSILON), ~same & (cosines > farthest - EPSILON)


def pairs(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which pairs of classes (B,) are of one class, and which are a clip with itself: two (B, B) bools."""
    return labels[:, None] == labels[None, :], torch.eye(len(labels), dtype=torch.bool, device=labels.device)


@torch.no_grad()
def distances(embeddings: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean squared distance of the pairs of one class and of different classes of (B, D), as for the triplet loss."""
    apart, (same, itself) = squared_distances(embeddings), pairs(labels)
    return {"d_pos": apart.masked_fill(~same | itself, 0).sum() / (same.sum() - len(labels)).clamp_min(1),
            "d_neg": apart.masked_fill(same, 0).sum() / (~same).sum().clamp_min(1)}


@torch.no_grad()
def nearest_is_own(cosines: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Share of the clips whose most similar other clip, by (B, B) cosines, is of their class."""
    return (labels[cosines.clone().fill_diagonal_(-torch.inf).argmax(1)] == labels).float().mean()
