"""The multi-similarity loss (Wang et al., 2019, arXiv:1904.06627), by pytorch-metric-learning."""

import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss

from models.losses import figures

EPSILON = 0.1  # by how much a pair may miss the hardest of the other kind and still count, as in the paper


class MultiSimilarity(MultiSimilarityLoss):
    """Pairs are weighted by their similarity and by that of the clip's other pairs; only hard ones count. The weights'
    constants are the library's (alpha 2, beta 50, base 0.5). Its miner makes the host wait for a GPU, to list the
    pairs; masks do not, and a test holds the two together."""

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict]:
        """(B, D) and (B,) to the loss, a mean over clips, and its figures."""
        cosines = self.distance(embeddings)  # (B, B)
        positive, negative = hard_pairs(cosines.detach(), labels)
        loss = self._compute_loss(cosines, positive, negative)["loss"]["losses"].mean()
        pairs = len(labels) * (len(labels) - 1)
        return loss, {"loss": loss.detach(), "active": (positive.sum() + negative.sum()) / pairs,
                      "batch_accuracy": figures.nearest_is_own(cosines, labels)} | figures.distances(embeddings, labels)


def hard_pairs(cosines: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which pairs of one class and which of two classes count: two (B, B) bools, a clip's pairs in its row. Of one
    class, those less similar than the clip's most similar pair of two classes plus 0.1; of two classes, those more
    similar than its least similar pair of one class less 0.1."""
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    nearest = cosines.masked_fill(same, -torch.inf).amax(1, keepdim=True)  # (B, 1)
    farthest = cosines.masked_fill(~same | itself, torch.inf).amin(1, keepdim=True)
    return same & ~itself & (cosines < nearest + EPSILON), ~same & (cosines > farthest - EPSILON)
