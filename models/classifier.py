"""The softmax head on an embedding, and the encoders by name."""

import torch
from torch import nn
from torch.nn import functional

ENCODERS = ("Res8", "Res15", "Quartz")


def make_encoder(model: str, width: int) -> nn.Module:
    """An untrained encoder: log-mel (B, F, T) to embeddings (B, ``width``), not normalised."""
    if model == "Quartz":
        from models.quartznet import Quartz as Encoder
    else:
        from models import resnet
        Encoder = getattr(resnet, model)
    return Encoder(width)


def embed(encoder: nn.Module, spectrograms: torch.Tensor) -> torch.Tensor:
    """(B, F, T) to L2-normalised embeddings (B, D), in float32 whatever precision the encoder ran in."""
    return functional.normalize(encoder(spectrograms).float(), dim=1)


class ClassificationNet(nn.Module):
    """PReLU and one linear layer: an embedding to class log-probabilities.

    Its parameters are named as in the original's checkpoints.
    """

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.nonlinear = nn.PReLU()
        self.fc1 = nn.Linear(width, num_classes)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """(B, D) to log-probabilities (B, C)."""
        return functional.log_softmax(self.fc1(self.nonlinear(embeddings)), dim=-1)
