"""Res8 and Res15 for use without training: the same embeddings from convolutions, ReLU and sums alone.

A batch norm in evaluation mode is z = r x + s, and the convolution after it sees w * z = (r w) * x + w * s, zeros
around both. The second term is the same for all clips, but not at all positions, because of the border. Here a channel
that is 1 everywhere carries it: its weight for an output is the sum of w s over channels, at each of the nine taps. So
no pass over the activations is left but convolution, ReLU and residual sum, which onnxruntime joins into one, and what
`models.encoders.residual` computes anew for every few clips is part of the weights. Channels are filled up to a
multiple of 16 with zeros, which processors are faster with.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from models.encoders.resnet import ResNet

ALIGNED = 16
CACHED = 1 << 21  # values of an activation at a time, as in `models.encoders.residual`


class Folded(nn.Module):
    """A `ResNet` in evaluation mode, for inference on a CPU and for export: (B, F, T) to (B, D), not normalised.

    Args:
        encoder: what it computes the embeddings of; later changes of its weights do not show.
        by_parts: as many clips at a time as a processor's cache holds; not to be exported.
    """

    def __init__(self, encoder: ResNet, by_parts: bool = True):
        super().__init__()
        channels, self.pool, self.by_parts, self.dilations = len(encoder.conv0.weight), encoder.pool, by_parts, []
        width = -(-(channels + 1) // ALIGNED) * ALIGNED
        self.width, self.project, self.channels = encoder.width, encoder.project, channels
        first, one = encoder.conv0.weight.new_zeros(width, 1, 3, 3), encoder.conv0.weight.new_zeros(width)
        first[:channels], one[channels] = encoder.conv0.weight.detach(), 1
        self.register_buffer("first", first)
        self.register_buffer("one", one)
        scale, shift = first.new_ones(channels), first.new_zeros(channels)
        for i in range(1, encoder.layers + 1):
            convolution, norm = encoder.get_submodule(f"conv{i}"), encoder.get_submodule(f"bn{i}")
            weight = convolution.weight.detach()
            folded = weight.new_zeros(width, width, 3, 3)
            folded[:channels, :channels] = weight * scale[:, None, None]
            folded[:channels, channels] = (weight * shift[:, None, None]).sum(1)
            if i % 2:  # the residual sum of an even layer brings the 1 back by itself
                folded[channels, channels, 1, 1] = 1
            self.register_buffer(f"weight{i}", folded.contiguous(memory_format=torch.channels_last))
            self.dilations.append(convolution.dilation[0])
            scale = 1 / (norm.running_var + norm.eps).sqrt()
            shift = -norm.running_mean * scale
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, spectrograms: torch.Tensor) -> torch.Tensor:
        x = (spectrograms.transpose(1, 2) if self.pool else spectrograms).unsqueeze(1)
        if not self.by_parts:
            return self.project(self._layers(self._first(x)))
        x = torch.cat([self._first(part) for part in x.split(1 if self.pool else max(1, len(x)))])
        x = x.contiguous(memory_format=torch.channels_last)
        return self.project(torch.cat([self._layers(part) for part in x.split(max(1, CACHED // x[0].numel()))]))

    def _first(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(functional.conv2d(x, self.first, self.one, padding=1), inplace=True)
        return functional.avg_pool2d(x, self.pool) if self.pool else x

    def _layers(self, x: torch.Tensor) -> torch.Tensor:
        residual = x
        for i, dilation in enumerate(self.dilations, 1):
            x = functional.conv2d(x, self.get_buffer(f"weight{i}"), padding=dilation, dilation=dilation)
            x = functional.relu(x, inplace=True)
            if i % 2 == 0:
                residual = x = x + residual
        return x.mean((2, 3))[:, :self.channels] * self.scale + self.shift


def folded(encoder: nn.Module, by_parts: bool = True) -> nn.Module:
    """`Folded` of a Res8 or Res15; any other encoder as it is."""
    return Folded(encoder, by_parts) if isinstance(encoder, ResNet) else encoder
