"""The layers of Res8 and Res15 with their channels filled up to a number that a GPU's tensor cores take.

Tensor cores take channels by eights, and 45 is no multiple of it. Here weights, activations and statistics get channels
of zeros at run time, and stay zero in them: so values, gradients and statistics are those of the channels there are.
"""

import torch
from torch import nn
from torch.nn import functional

MULTIPLE = 8


def missing(channels: int) -> int:
    """How many channels fill ``channels`` up."""
    return -channels % MULTIPLE


def first_weight(convolution: nn.Conv2d) -> torch.Tensor:
    """The weight (C, 1, 3, 3) of a convolution, its outputs filled up."""
    return functional.pad(convolution.weight, (0, 0, 0, 0, 0, 0, 0, missing(len(convolution.weight))))


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
