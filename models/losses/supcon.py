"""The supervised contrastive loss (Khosla et al., 2020, arXiv:2004.11362, the sum outside the logarithm)."""

import torch
from torch import nn

from models.losses import figures


class SupervisedContrastive(nn.Module):
    """For each clip, a softmax over all others of the batch: the mean log-probability of those of its class. ``scale``,
    of the cosines, is one over the paper's temperature. pytorch-metric-learning's own waits for the device to know
    whether there are pairs; a test holds the two together."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict]:
        """(B, D) and (B,) to the loss, a mean over clips, and its figures."""
        cosines = embeddings @ embeddings.T
        itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positive = (labels[:, None] == labels[None, :]) & ~itself  # (B, B)
        logs = (self.scale * cosines).masked_fill(itself, -torch.inf).log_softmax(1)
        loss = -(logs.masked_fill(~positive, 0).sum(1) / positive.sum(1).clamp_min(1)).mean()
        return loss, {"loss": loss.detach(), "batch_accuracy": figures.nearest_is_own(cosines, labels)} \
            | figures.distances(embeddings, labels)
