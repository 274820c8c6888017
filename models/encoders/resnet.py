"""Res8 and Res15: residual convolutional encoders (Tang & Lin, 2018, arXiv:1710.10361), as the paper uses them.

On a GPU in bfloat16 their channels are filled up to a number that tensor cores take: these take channels by eights, and
45 is no multiple of it. Weights, activations and statistics get channels of zeros at run time, and stay zero in them:
so values, gradients and statistics are those of the channels there are.
"""

import itertools

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from models.encoders.residual import residual_layers

# Clips of Res8's first stage at a time on a CPU: before pooling it is twelve times as large as after, and in chunks
# it stays in the processor's cache. A step of 350 clips took 2.7 s so, 4.3 s otherwise (with `reuse_memory`).
CHUNK = 8
MULTIPLE = 8  # of channels, for tensor cores


class ResNet(nn.Module):
    """Spectrogram to embedding.

    A convolution, then ``layers`` times convolution, ReLU, batch norm; the input of each pair of layers is added to
    the pair's output before its batch norm. The embedding is the mean over time and frequency, or a linear projection
    of the means over parts of the time. Parameter names and shapes are the published checkpoints'.

    Args:
        pool: average-pooling window (frames, bands) after the first convolution, or None. With pooling, kernels lie
            with time as their first axis, without it as their second: so they do in the original's checkpoints.
        dilate: whether the dilation doubles every three layers.
        embedding: the embedding's size D, by a linear projection of the means; None or ``width``, and there is none
            of a single mean.
        parts: stretches of time that a mean is taken over each, P; more than one needs ``pool``.
        margin: rows of pooled frames at either end that are context, and over which no mean is taken.
    """

    def __init__(self, width: int, layers: int, pool: tuple[int, int] | None, dilate: bool,
                 embedding: int | None = None, parts: int = 1, margin: int = 0):
        super().__init__()
        self.width, self.layers, self.pool, self.parts, self.margin = embedding or width, layers, pool, parts, margin
        self.by_parts = True  # off, all of a batch goes through each operation at once on a CPU too, as on a GPU
        self.padded: bool | None = None  # whether channels are filled up for tensor cores; None: in bf16 on a GPU
        self.conv0 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        for i in range(1, layers + 1):
            dilation = 2 ** ((i - 1) // 3) if dilate else 1
            self.add_module(f"bn{i}", nn.BatchNorm2d(width, affine=False))
            self.add_module(f"conv{i}", nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False))
        self.project = nn.Linear(parts * width, self.width) if parts > 1 or self.width != width else nn.Identity()

    def forward(self, spectrograms: torch.Tensor) -> torch.Tensor:
        """(B, F, T) log-mel to (B, D), not normalised."""
        return self.project(self.means(spectrograms, self.parts))

    def means(self, spectrograms: torch.Tensor, parts: int | None = None) -> torch.Tensor:
        """(B, F, T) log-mel to (B, P * C), the means over so many stretches of time; without a number, over each row
        of frames but those of the margins."""
        x = (spectrograms.transpose(1, 2) if self.pool else spectrograms).unsqueeze(1)  # (B, 1, T, F) or (B, 1, F, T)
        padded = self._pads(x.device)
        by_parts = self.by_parts and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu") \
            and not torch.compiler.is_compiling() and parts is not None and not padded
        if self.pool and by_parts:
            def first(part: torch.Tensor) -> torch.Tensor:
                # Only where there will be a gradient: the first call imports sixty megabytes.
                return checkpoint(self._first, part, use_reentrant=False, preserve_rng_state=False) \
                    if torch.is_grad_enabled() else self._first(part)

            x = torch.cat([first(part) for part in x.split(CHUNK)])
        else:
            x = self._first(x if parts else x.contiguous(memory_format=torch.channels_last), padded)
        convolutions, norms = ([self.get_submodule(f"{kind}{i}") for i in range(1, self.layers + 1)]
                               for kind in ("conv", "bn"))
        if by_parts:
            return residual_layers(x, [c.weight for c in convolutions], norms, [c.dilation[0] for c in convolutions],
                                   self._stretches(x.shape[2], parts))
        if padded:
            x = padded_layers(x, convolutions, norms)
        else:
            residual = x
            for i, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True)):
                x = functional.relu(convolution(x), inplace=True)
                if i % 2:
                    residual = x = x + residual
                x = norm(x)
        own = len(self.conv0.weight)  # the channels there are
        if parts is None:
            return x[:, :own, self.margin:x.shape[2] - self.margin].mean(3).transpose(1, 2).flatten(1)
        return torch.cat([x[:, :, first:last].mean((2, 3))[:, :own]
                          for first, last in self._stretches(x.shape[2], parts)], 1)

    def _pads(self, device: torch.device) -> bool:
        """Whether channels are filled up here. Not where several GPUs share their batch norms' statistics."""
        wanted = device.type == "cuda" and torch.is_autocast_enabled("cuda") if self.padded is None else self.padded
        return wanted and missing(len(self.conv0.weight)) > 0 and isinstance(self.bn1, nn.BatchNorm2d)

    def _stretches(self, lines: int, parts: int) -> list[tuple[int, int]]:
        """From which to before which line of the first axis each mean is taken."""
        bounds = [self.margin + (lines - 2 * self.margin) * i // parts for i in range(parts + 1)]
        return list(itertools.pairwise(bounds))

    def _first(self, x: torch.Tensor, padded: bool = False) -> torch.Tensor:
        weight = self.conv0.weight  # (C, 1, 3, 3)
        filled = (0, 0, 0, 0, 0, 0, 0, missing(len(weight)))
        x = functional.conv2d(x, functional.pad(weight, filled), padding=1) if padded else self.conv0(x)
        x = functional.relu(x, inplace=True)  # (B, C, ...)
        return functional.avg_pool2d(x, self.pool) if self.pool else x


class Res8(ResNet):
    """Six layers on a spectrogram pooled to (T / 3, F / 4): 109,755 parameters at width 45."""

    def __init__(self, width: int = 45, embedding: int | None = None, parts: int = 1, margin: int = 0):
        super().__init__(width, layers=6, pool=(3, 4), dilate=False, embedding=embedding, parts=parts, margin=margin)


class Res15(ResNet):
    """Thirteen dilated layers at full resolution: 237,330 parameters at width 45."""

    def __init__(self, width: int = 45, embedding: int | None = None):
        super().__init__(width, layers=13, pool=None, dilate=True, embedding=embedding)


def missing(channels: int) -> int:
    """How many channels fill ``channels`` up."""
    return -channels % MULTIPLE


def padded_layers(x: torch.Tensor, convolutions: list[nn.Conv2d], norms: list[nn.BatchNorm2d]) -> torch.Tensor:
    """Convolution, ReLU and batch norm, once for each of ``convolutions``, the input of each pair of layers added
    before the second batch norm: (B, C', H, W), C' being C filled up, to the same shape. Weights are (C, C, 3, 3)
    each, batch norms without scale and shift; those in training mode update their running statistics."""
    channels, more = norms[0].num_features, missing(norms[0].num_features)
    # All layers at once, and in the arithmetic that they are computed in: a GPU waits for single small kernels.
    weights = torch.stack([layer.weight.permute(0, 2, 3, 1) for layer in convolutions])  # (L, C, 3, 3, C)
    if torch.is_autocast_enabled(x.device.type):
        weights = weights.to(torch.get_autocast_dtype(x.device.type))
    weights = functional.pad(weights, (0, more, 0, 0, 0, 0, 0, more)).permute(0, 1, 4, 2, 3)  # channels-last each
    buffers = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var)]
    statistics = functional.pad(torch.stack(buffers), (0, more)).unbind()
    x = residual = x.contiguous(memory_format=torch.channels_last)
    for i, (weight, layer, norm) in enumerate(zip(weights, convolutions, norms, strict=True)):
        x = functional.relu(functional.conv2d(x, weight, None, 1, layer.padding, layer.dilation), inplace=True)
        if i % 2:
            residual = x = x + residual
        x = functional.batch_norm(x, *statistics[2 * i:2 * i + 2], training=norm.training, momentum=norm.momentum,
                                  eps=norm.eps)
    for norm, mean, variance in zip(norms, statistics[::2], statistics[1::2], strict=True):
        if norm.training:
            norm.running_mean.copy_(mean[:channels])
            norm.running_var.copy_(variance[:channels])
            norm.num_batches_tracked += 1
    return x
