"""The triplet miner and loss, and the losses that it is compared with, by name.

A triplet is an anchor, a positive of the anchor's class and a negative of another. Its loss is
max(0, d(anchor, positive) - d(anchor, negative) + margin) with d the squared Euclidean distance.

Each loss sees a whole batch of unit embeddings (B, D) and classes (B,), and returns a value and figures for the log,
all scalar tensors on the embeddings' device, so that nothing waits for it: that is why pairs are masks, and not
pytorch-metric-learning's lists.
"""

import math
from argparse import Namespace
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from data.audio.dataset import send

_BLOCK_CPU, _BLOCK = 1 << 20, 1 << 27  # distances looked at at a time: what a CPU's cache holds, and 0.5 GB
_ONES = 0x0101010101010101  # a 1 in each byte
EPSILON = 0.1  # by how much a pair may miss the hardest of the other kind and still count in `MultiSimilarity`


class TripletLoss(NamedTuple):
    """What a batch gave, as every loss does."""

    loss: torch.Tensor  # mean loss of the triplets, with gradient; 0 when there is none
    # That, the share of the pairs that a negative was found for, and mean squared distances of both kinds of pairs.
    figures: dict[str, torch.Tensor]


def positive_pairs(labels: torch.Tensor) -> torch.Tensor:
    """All (P, 2) index pairs of equal label (B,), lower index (the anchor) first, in order."""
    same = torch.triu(labels[:, None] == labels[None, :], diagonal=1)
    return same.nonzero()


def own_class(labels: torch.Tensor) -> torch.Tensor:
    """What to add to distances so that no clip of a label's (B,) own class is its negative: (B, 8 W) float32, infinity
    within a class, 0 between classes; columns of infinity fill up whole words of bools."""
    same = functional.pad(labels[:, None] == labels[None, :], (0, -len(labels) % 8), value=True)
    return torch.zeros(same.shape, device=labels.device).masked_fill_(same, torch.inf)


def squared_distances(embeddings: torch.Tensor) -> torch.Tensor:
    """(B, D) to the (B, B) squared Euclidean distances."""
    square = embeddings.square().sum(1)
    return (square[:, None] + square[None, :] - 2 * embeddings @ embeddings.T).clamp_min(0)


def mining_draws(pairs: int, generator: torch.Generator | None, device: torch.device) -> torch.Tensor:
    """What `mine` draws for so many pairs: (P,) float64 in [0, 1) on a device. The generator is on the CPU, so that a
    seed gives the same triplets on every device."""
    return send(torch.rand(pairs, dtype=torch.float64, generator=generator), device)


@torch.no_grad()
def mine(distances: torch.Tensor, labels: torch.Tensor, pairs: torch.Tensor, margin: float, mining: str = "random",
         draw: torch.Generator | torch.Tensor | None = None,
         own: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose one negative for each of (P, 2) pairs of anchor and positive, by (B, B) squared distances.

    Of the negatives with positive loss, ``random`` takes any (the paper's), ``hardest`` the nearest to the anchor, and
    ``semihard`` any that is farther from it than the positive. ``draw`` is a generator on the CPU, or its
    `mining_draws`; ``own`` is `own_class` of the labels, if known. Returns (P,) index of the negative, and (P,) bool,
    False where no negative will do."""
    anchor, positive = pairs.T
    limit = distances[anchor, positive]  # (P,)
    others = (own_class(labels) if own is None else own).to(distances.dtype, copy=True)
    others[:, :len(labels)] += distances  # (B, 8 W), infinite within a class
    if mining == "hardest":
        nearest, negative = others[:, :len(labels)].min(1)
        return negative[anchor], nearest[anchor] < limit + margin
    draw = draw if isinstance(draw, torch.Tensor) else mining_draws(len(pairs), draw, distances.device)
    block = max(1, (_BLOCK_CPU if distances.device.type == "cpu" else _BLOCK) // others.shape[1])
    found = []
    for anchors, limits, draws in zip(anchor.split(block), limit[:, None].split(block), draw.split(block), strict=True):
        to_others = others.index_select(0, anchors)  # (p, 8 W)
        # A CPU compares floats into bools one at a time, but into floats, and those into bools, by vectors.
        if mining == "semihard":
            near = torch.lt(to_others, limits + margin, out=torch.empty_like(to_others))
            usable = to_others.gt_(limits).mul_(near)
        else:
            usable = to_others.lt_(limits + margin)
        found.append(_draw_true(usable.bool(), draws))
    if not found:
        return anchor, anchor.bool()
    negative, count = (torch.cat(parts) for parts in zip(*found, strict=True))
    return negative.clamp_max(len(labels) - 1), count > 0


def _draw_true(usable: torch.Tensor, draw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The column of one of each row's true values, by a ``draw`` (P,) in [0, 1), and how many there are (P,). A row (P,
    8 W) of bools, which is overwritten, is read as W words of eight bytes: one multiplication makes each byte the
    number of true ones up to it, so that sums over a row are over an eighth as many values."""
    words = usable.view(torch.int64).mul_(_ONES)  # (P, W), on a little-endian machine, as all of today's are
    seen = (words >> 56).cumsum(1)  # (P, W), up to the end of each word
    count = seen[:, -1]
    wanted = (draw * count).long()[:, None]  # 0 ... count - 1
    word = torch.searchsorted(seen, wanted, right=True).clamp_max(words.shape[1] - 1)  # (P, 1)
    chosen = words.gather(1, word)
    inside = wanted - seen.gather(1, word) + (chosen >> 56)  # 0 ... 7, the wanted one's number in its word
    passed = (((inside + 64) * _ONES - chosen) >> 6) & _ONES  # a 1 in each byte that is at most that number
    return (8 * word + (passed * _ONES >> 56))[:, 0], count


def triplet_loss(embeddings: torch.Tensor, labels: torch.Tensor, margin: float, mining: str = "random",
                 draw: torch.Generator | torch.Tensor | None = None, pairs: torch.Tensor | None = None,
                 own: torch.Tensor | None = None) -> TripletLoss:
    """Mine a batch of embeddings (B, D) with labels (B,) and average the triplets' losses. ``draw`` is as in `mine`;
    ``pairs`` and ``own`` are `positive_pairs` and `own_class`, if known; finding pairs makes the host wait for a GPU.
    """
    if pairs is None:
        pairs = positive_pairs(labels)
    with torch.no_grad():
        distances = squared_distances(embeddings)
    negative, found = mine(distances, labels, pairs, margin, mining, draw, own)
    # Not embeddings[i]: a CPU's threads add up its gradients in whichever order they get there, and no run repeats.
    anchors, positives, negatives = (functional.embedding(i, embeddings)  # (P, D)
                                     for i in (pairs[:, 0], pairs[:, 1], negative))
    losses = ((anchors - positives).square().sum(1) - (anchors - negatives).square().sum(1) + margin).relu()
    loss = (losses * found).sum() / found.sum().clamp_min(1)

    same = labels[:, None] == labels[None, :]
    many = max(len(pairs), 1)
    return TripletLoss(loss, {"loss": loss.detach(), "active": found.sum() / many,
                              "d_pos": distances[pairs[:, 0], pairs[:, 1]].sum() / many,
                              "d_neg": distances.masked_fill(same, 0).sum() / (~same).sum().clamp_min(1)})


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
