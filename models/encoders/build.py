"""The encoders by name, untrained, and the one step from a spectrogram to a unit embedding."""

import torch
from torch import nn
from torch.nn import functional

ENCODERS = ("Res8", "Res15", "Quartz")


def make_encoder(model: str, width: int) -> nn.Module:
    """An untrained encoder: log-mel (B, F, T) to embeddings (B, ``width``), not normalised."""
    if model == "Quartz":
        from models.encoders.quartznet import Quartz as Encoder
    else:
        from models.encoders import resnet
        Encoder = getattr(resnet, model)
    return Encoder(width)


def embed(encoder: nn.Module, spectrograms: torch.Tensor) -> torch.Tensor:
    """(B, F, T) to L2-normalised embeddings (B, D), in float32 whatever precision the encoder ran in."""
    return functional.normalize(encoder(spectrograms).float(), dim=1)
