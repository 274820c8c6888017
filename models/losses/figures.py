"""What the log shows of a batch beside its loss."""

import torch

from models.losses.triplet import squared_distances


@torch.no_grad()
def distances(embeddings: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean squared distance of the pairs of one class and of different classes of (B, D), as for the triplet loss."""
    apart = squared_distances(embeddings)
    same = labels[:, None] == labels[None, :]
    # A clip and itself are no pair, and what rounding leaves between them counts for nothing.
    return {"d_pos": apart.fill_diagonal_(0).masked_fill(~same, 0).sum() / (same.sum() - len(labels)).clamp_min(1),
            "d_neg": apart.masked_fill(same, 0).sum() / (~same).sum().clamp_min(1)}


@torch.no_grad()
def nearest_is_own(similarities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Share of the clips whose most similar other clip is of their class, from similarities (B, B)."""
    return own_share(labels[similarities.clone().fill_diagonal_(-torch.inf).argmax(1)], labels)


@torch.no_grad()
def own_share(found: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Share of the classes (B,) found that are the true ones."""
    return (found == labels).float().mean()
