"""The encoders by name, untrained, and the one step from a spectrogram to a unit embedding."""

from argparse import Namespace

import torch
from torch import nn
from torch.nn import functional

from data.audio.decoding import SAMPLE_RATE
from models.context import MARGIN, SHARED
from models.encoders.frontend import frames_of


def encoder_of(args: Namespace) -> nn.Module:
    """The untrained encoder of a script's arguments, its sizes filled in by `resolve_sizes` or `find_encoder`."""
    frames = frames_of(round(args.clip_seconds * SAMPLE_RATE))
    return make_encoder(args.model, args.hidden_size, args.embedding_size, args.filters, frames, args.parts,
                        args.compression)


def make_encoder(model: str, width: int, embedding: int | None = None, filters: int | None = None,
                 frames: int = 112, parts: int = 1, compression: str = "log") -> nn.Module:
    """An untrained encoder: log-mel (B, F, T) to embeddings (B, D), not normalised. ``width`` is the channels of Res8
    and Res15, and D unless ``embedding`` is given. Quartz alone takes ``filters`` and ``frames``, Res8 alone ``parts``
    of time with a mean each, and context at both ends by ``compression``."""
    if model == "Quartz":
        from models.encoders.quartznet import Quartz

        return Quartz(embedding or width, filters or 1024, frames)
    from models.encoders import resnet

    if model == "Res8":
        return resnet.Res8(width, embedding, parts, MARGIN if compression == SHARED else 0)
    return resnet.Res15(width, embedding)


def embed(encoder: nn.Module, spectrograms: torch.Tensor) -> torch.Tensor:
    """(B, F, T) to L2-normalised embeddings (B, D), in float32 whatever precision the encoder ran in."""
    return functional.normalize(encoder(spectrograms).float(), dim=1)
