"""The triplet miner and loss.

A triplet is an anchor, a positive of the anchor's class and a negative of another. Its loss is
max(0, d(anchor, positive) - d(anchor, negative) + margin) with d the squared Euclidean distance.
"""

from dataclasses import dataclass

import torch

from data.dataset import send

MINING = ("random", "hardest", "semihard")


@dataclass
class TripletLoss:
    """What a batch gave. All are scalar tensors on the embeddings' device, so nothing waits for the device.

    Attributes:
        loss: mean loss of the triplets, with gradient; 0 when there is none.
        active: share of the pairs for which a negative was found.
        positive, negative: mean squared distance of same-class and of different-class pairs.
    """

    loss: torch.Tensor
    active: torch.Tensor
    positive: torch.Tensor
    negative: torch.Tensor


def positive_pairs(labels: torch.Tensor) -> torch.Tensor:
    """All (P, 2) index pairs of equal label (B,), lower index (the anchor) first, in order."""
    same = torch.triu(labels[:, None] == labels[None, :], diagonal=1)
    return same.nonzero()


def squared_distances(embeddings: torch.Tensor) -> torch.Tensor:
    """(B, D) to the (B, B) squared Euclidean distances."""
    square = embeddings.square().sum(1)
    return (square[:, None] + square[None, :] - 2 * embeddings @ embeddings.T).clamp_min(0)


@torch.no_grad()
def mine(distances: torch.Tensor, labels: torch.Tensor, pairs: torch.Tensor, margin: float, mining: str = "random",
         generator: torch.Generator | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose one negative for every anchor-positive pair.

    Args:
        distances: (B, B) squared distances.
        labels: (B,).
        pairs: (P, 2) anchor and positive.
        mining: which of the negatives with positive loss: ``random`` takes any (the paper's), ``hardest`` the
            nearest to the anchor, ``semihard`` any that is farther from it than the positive.
        generator: on the CPU, so that a seed gives the same triplets on every device.

    Returns:
        (P,) index of the negative, and (P,) bool, False where no negative will do.
    """
    anchor, positive = pairs.T
    to_positive = distances[anchor, positive][:, None]  # (P, 1)
    to_others = distances[anchor]  # (P, B)
    usable = (labels[anchor][:, None] != labels[None, :]) & (to_others < to_positive + margin)
    if mining == "hardest":
        nearest, negative = to_others.masked_fill(~usable, torch.inf).min(1)
        return negative, nearest.isfinite()
    if mining == "semihard":
        usable &= to_others > to_positive
    seen = usable.cumsum(1, dtype=torch.int32)  # (P, B), how many usable negatives up to each
    count = seen[:, -1]
    draw = send(torch.rand(len(pairs), dtype=torch.float64, generator=generator), distances.device)
    wanted = (draw * count).int()  # 0 ... count - 1
    negative = (seen <= wanted[:, None]).sum(1).clamp_max(len(labels) - 1)
    return negative, count > 0


def triplet_loss(embeddings: torch.Tensor, labels: torch.Tensor, margin: float, mining: str = "random",
                 generator: torch.Generator | None = None, pairs: torch.Tensor | None = None) -> TripletLoss:
    """Mine a batch of embeddings (B, D) with labels (B,) and average the triplets' losses.

    Args:
        pairs: `positive_pairs` of the labels, if known; finding them makes the host wait for a GPU.
    """
    if pairs is None:
        pairs = positive_pairs(labels)
    with torch.no_grad():
        distances = squared_distances(embeddings)
    negative, found = mine(distances, labels, pairs, margin, mining, generator)
    anchors, positives, negatives = (embeddings[i] for i in (pairs[:, 0], pairs[:, 1], negative))  # (P, D)
    losses = ((anchors - positives).square().sum(1) - (anchors - negatives).square().sum(1) + margin).relu()
    loss = (losses * found).sum() / found.sum().clamp_min(1)

    same = labels[:, None] == labels[None, :]
    many = max(len(pairs), 1)
    return TripletLoss(loss, found.sum() / many, distances[pairs[:, 0], pairs[:, 1]].sum() / many,
                       distances.masked_fill(same, 0).sum() / (~same).sum().clamp_min(1))
