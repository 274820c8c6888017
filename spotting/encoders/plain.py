"""An encoder with its front end written for export: no complex numbers, no batch taken apart, no batch norms.

The spectrum is a product with two fixed matrices, the cosines and sines of every frequency times the window, which a
convolution applies to all frames. Everything else is as `models.encoders.frontend.LogMel` does it for whole clips.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from models.context import MARGIN, SHARED, rows_of
from models.encoders.build import WaveformEncoder, embed
from models.encoders.frontend import CONSTANT, EPSILON, HOP, LOG_GUARD, SETTINGS, WINDOW, LogMel
from models.encoders.resnet import ResNet


class PlainLogMel(nn.Module):
    """Clips of one length, (B, S) float32 in [-1, 1], to (B, 64, T) float32, as `LogMel` in evaluation mode. Normalised
    by constants, they may have any length."""

    def __init__(self, frontend: LogMel, clip_samples: int):
        super().__init__()
        size = SETTINGS["n_fft"]
        window = functional.pad(frontend.window.double().cpu(), [(size - WINDOW) // 2] * 2)
        turns = torch.outer(torch.arange(size // 2 + 1), torch.arange(size)) % size  # exact, being whole numbers
        angle = turns.double() * (2 * math.pi / size)
        transform = torch.cat([angle.cos() * window, angle.sin() * window])[:, None]  # (2 x 257, 1, 512)
        self.register_buffer("transform", transform.to(frontend.window.dtype))
        self.register_buffer("filters", frontend.filters.cpu()[:, :, None].clone())  # a convolution of length 1
        self.constant = frontend.compression == SHARED
        self.frames = -(-clip_samples // HOP)
        self.clip_samples, self.half = clip_samples, size // 2
        self.padded = -(-(clip_samples // HOP + 1) // SETTINGS["pad_frames_to"]) * SETTINGS["pad_frames_to"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([x[:, :1], x[:, 1:] - SETTINGS["preemphasis"] * x[:, :-1]], 1)
        x = functional.pad(x[:, None], (self.half, self.half), mode="reflect")  # (B, 1, S + 512)
        spectrum = functional.conv1d(x, self.transform, stride=HOP)  # (B, 2 x 257, T)
        real, imaginary = spectrum.split(self.half + 1, 1)
        power = real.square() + imaginary.square()
        x = log1p(functional.conv1d(power, self.filters) / LOG_GUARD)
        if self.constant:
            return (x - CONSTANT["mean"]) / CONSTANT["deviation"]
        x = x[:, :, :self.frames]
        x = x - x.mean(2, keepdim=True)
        deviation = (x.square().sum(2, keepdim=True) / max(1, self.frames - 1)).sqrt()
        return functional.pad(x / (deviation + EPSILON), (0, self.padded - self.frames))


class PlainEncoder(nn.Module):
    """Waveforms (B, S) float32 in [-1, 1], of the encoder's clip length, to unit embeddings (B, D). Of an encoder with
    context S may be more: of the first clip in it, and with them come the rows (B, R, C) of `WaveformEncoder.rows`."""

    def __init__(self, encoder: WaveformEncoder):
        super().__init__()
        self.frontend = PlainLogMel(encoder.frontend, encoder.clip_samples)
        self.encoder = Folded(encoder.encoder) if isinstance(encoder.encoder, ResNet) else encoder.encoder
        self.count = rows_of(encoder.clip_samples)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        if not self.frontend.constant:
            return embed(self.encoder, self.frontend(waveforms))
        rows = self.encoder.lines(self.frontend(waveforms))[:, MARGIN:-MARGIN]
        return functional.normalize(self.encoder.joined(rows[:, :self.count]), dim=1), rows


class Folded(nn.Module):
    """A `ResNet` in evaluation mode from convolutions, ReLU and sums alone: by onnxruntime a sixth of the time less.

    A batch norm is z = r x + s, and the convolution after it sees w * z = (r w) * x + w * s, zeros around both. The
    second term differs at the border, so a channel that is 1 everywhere carries it: its weight for an output is the
    sum of w s over the channels. Channels are filled up with zeros to a multiple of 16.
    """

    @torch.no_grad()
    def __init__(self, encoder: ResNet):
        super().__init__()
        self.pool, self.project, self.channels = encoder.pool, encoder.project, len(encoder.conv0.weight)
        self.parts = encoder.parts
        one, width = self.channels, -(-(self.channels + 1) // 16) * 16
        self.first, self.layers = nn.Conv2d(1, width, 3, padding=1), nn.ModuleList()
        self.first.weight.zero_()[:one] = encoder.conv0.weight
        self.first.bias.zero_()[one] = 1
        scale, shift = torch.ones(one), torch.zeros(one)
        for i in range(1, encoder.layers + 1):
            layer, norm = encoder.get_submodule(f"conv{i}"), encoder.get_submodule(f"bn{i}")
            made = nn.Conv2d(width, width, 3, padding=layer.padding, dilation=layer.dilation, bias=False)
            made.weight.zero_()[:one, :one] = layer.weight * scale[:, None, None]
            made.weight[:one, one] = (layer.weight * shift[:, None, None]).sum(1)
            made.weight[one, one, 1, 1] = i % 2  # after an even layer the residual sum brings the 1 back
            self.layers.append(made)
            scale = 1 / (norm.running_var + norm.eps).sqrt()
            shift = -norm.running_mean * scale
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, spectrograms: torch.Tensor) -> torch.Tensor:
        """(B, F, T) to (B, D), not normalised."""
        return self.joined(self.lines(spectrograms))

    def joined(self, lines: torch.Tensor) -> torch.Tensor:
        """(B, H, C), of each part the mean over it, projected."""
        bounds = [lines.shape[1] * i // self.parts for i in range(self.parts + 1)]
        return self.project(torch.cat([lines[:, start:end].mean(1) for start, end in pairwise(bounds)], 1))

    def lines(self, spectrograms: torch.Tensor) -> torch.Tensor:
        """(B, F, T) to (B, H, C): the mean over the second axis of each line of the first."""
        x = functional.relu(self.first((spectrograms.transpose(1, 2) if self.pool else spectrograms).unsqueeze(1)))
        residual = x = functional.avg_pool2d(x, self.pool) if self.pool else x
        for i, layer in enumerate(self.layers, 1):
            x = functional.relu(layer(x))
            if i % 2 == 0:
                residual = x = x + residual
        return x.mean(3)[:, :self.channels].transpose(1, 2) * self.scale + self.shift


def log1p(x: torch.Tensor) -> torch.Tensor:
    """log(1 + x), x >= 0, as exact for small ones: ONNX has no operation for it (Kahan's way: what 1 + x rounds off
    the logarithm is put back by the ratio to what it does not)."""
    rounded = 1 + x
    left = rounded - 1
    return torch.where(left == 0, x, rounded.log() * (x / torch.where(left == 0, 1.0, left)))
