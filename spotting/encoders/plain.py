"""An encoder with its front end written so that it can be exported: no complex numbers, no batch taken apart.

The spectrum is a product with two fixed matrices, the cosines and sines of every frequency times the window, which a
convolution applies to all frames. Everything else is as `models.encoders.frontend.LogMel` does it for whole clips.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from models.encoders.build import embed
from models.encoders.frontend import EPSILON, HOP, LOG_GUARD, SETTINGS, WINDOW, LogMel
from models.encoders.waveform import WaveformEncoder
from spotting.encoders.folded import folded


class PlainLogMel(nn.Module):
    """Clips of one length, (B, S) float32 in [-1, 1], to (B, 64, T) float32, as `LogMel` in evaluation mode."""

    def __init__(self, frontend: LogMel, clip_samples: int):
        super().__init__()
        size = SETTINGS["n_fft"]
        window = functional.pad(frontend.window.double().cpu(), [(size - WINDOW) // 2] * 2)
        turns = torch.outer(torch.arange(size // 2 + 1), torch.arange(size)) % size  # exact, being whole numbers
        angle = turns.double() * (2 * math.pi / size)
        transform = torch.cat([angle.cos() * window, angle.sin() * window])[:, None]  # (2 x 257, 1, 512)
        self.register_buffer("transform", transform.to(frontend.window.dtype))
        self.register_buffer("filters", frontend.filters.cpu()[:, :, None].clone())  # a convolution of length 1
        self.compress = compress_log if frontend.compression == "log" else frontend.compress
        self.frames = -(-clip_samples // HOP)
        self.clip_samples, self.half = clip_samples, size // 2
        self.padded = -(-(clip_samples // HOP + 1) // SETTINGS["pad_frames_to"]) * SETTINGS["pad_frames_to"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([x[:, :1], x[:, 1:] - SETTINGS["preemphasis"] * x[:, :-1]], 1)
        x = functional.pad(x[:, None], (self.half, self.half), mode="reflect")  # (B, 1, S + 512)
        spectrum = functional.conv1d(x, self.transform, stride=HOP)  # (B, 2 x 257, T)
        real, imaginary = spectrum.split(self.half + 1, 1)
        power = real.square() + imaginary.square()
        x = self.compress(functional.conv1d(power, self.filters))[:, :, :self.frames]
        x = x - x.mean(2, keepdim=True)
        deviation = (x.square().sum(2, keepdim=True) / max(1, self.frames - 1)).sqrt()
        return functional.pad(x / (deviation + EPSILON), (0, self.padded - self.frames))


class PlainEncoder(nn.Module):
    """Waveforms (B, S) float32 in [-1, 1], of the encoder's clip length, to unit embeddings (B, D)."""

    def __init__(self, encoder: WaveformEncoder):
        super().__init__()
        self.frontend = PlainLogMel(encoder.frontend, encoder.clip_samples)
        self.encoder = folded(encoder.encoder, by_parts=False)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        return embed(self.encoder, self.frontend(waveforms))


def compress_log(power: torch.Tensor) -> torch.Tensor:
    """`LogMel.compress` with operations that ONNX has."""
    return log1p(power / LOG_GUARD)


def log1p(x: torch.Tensor) -> torch.Tensor:
    """log(1 + x), x >= 0, as exact for small ones: ONNX has no operation for it (Kahan's way: what 1 + x rounds off
    the logarithm is put back by the ratio to what it does not)."""
    rounded = 1 + x
    left = rounded - 1
    return torch.where(left == 0, x, rounded.log() * (x / torch.where(left == 0, 1.0, left)))
