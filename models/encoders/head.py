"""The softmax head on an embedding."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from data.base.errors import UserError
from models.encoders.device import full_float32


class ClassificationNet(nn.Module):
    """PReLU and one linear layer: an embedding to class log-probabilities. Parameters are named as the original's."""

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.nonlinear = nn.PReLU()
        self.fc1 = nn.Linear(width, num_classes)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """(B, D) to log-probabilities (B, C)."""
        return functional.log_softmax(self.fc1(self.nonlinear(embeddings)), dim=-1)


@torch.no_grad()
@full_float32()
def head_scores(head: ClassificationNet, embeddings: np.ndarray) -> np.ndarray:
    """Embeddings (N, D) to log-probabilities (N, C), both float32. Raises UserError for scores that are not numbers."""
    scores = head(torch.from_numpy(embeddings).to(next(head.parameters()).device)).cpu().numpy()
    bad = np.flatnonzero(np.isnan(scores).any(1) | (scores == np.inf).any(1))
    if len(bad):
        raise UserError(f"the head's scores of {len(bad)} of {len(scores)} clips are not numbers (first: clip "
                        f"{bad[0]}): its training, or the encoder's, diverged; use an earlier step, or train with a "
                        "lower --lr")
    return scores


def add_prior(scores: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """Log-probabilities (N, C) as they are where classes are as frequent as in (C,) numbers of ``clips``, by Bayes'
    rule (Menon et al., 2021, arXiv:2007.07314); a class without a clip is never predicted."""
    with np.errstate(divide="ignore"):
        scores = scores + np.log(clips / clips.sum(), dtype=np.float64)
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
