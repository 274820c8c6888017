"""The encoders by name, untrained, and the one step from a spectrogram to a unit embedding."""

import torch
from torch import nn
from torch.nn import functional

BCRES = "BCRes"  # which the size follows


def make_encoder(model: str, width: int, embedding: int | None = None) -> nn.Module:
    """An untrained encoder: log-mel (B, F, T) to embeddings (B, D), not normalised.

    Args:
        model: one of `models.runs.options.common.MODELS`.
        width: channels of Res8 and Res15; of the others the size D of the embedding, whatever their channels.
        embedding: D, if it is to differ from ``width``.
    """
    if model.startswith(BCRES):
        from models.encoders.bcresnet import BCResNet

        return BCResNet(float(model.removeprefix(BCRES)), embedding or width)
    if model == "Quartz":
        from models.encoders.quartznet import Quartz

        return Quartz(embedding or width)
    from models.encoders import resnet

    return getattr(resnet, model)(width, embedding)


def embed(encoder: nn.Module, spectrograms: torch.Tensor) -> torch.Tensor:
    """(B, F, T) to L2-normalised embeddings (B, D), in float32 whatever precision the encoder ran in."""
    return functional.normalize(encoder(spectrograms).float(), dim=1)
