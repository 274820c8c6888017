"""The residual layers of Res8 and Res15 on a CPU, a few clips at a time.

A layer's arithmetic is little enough per value that a CPU spends half of its time carrying activations to and from
memory, if convolution, ReLU, sum, batch norm, and their gradients each pass over the whole batch. Here each layer takes
as many clips as the cache holds through all of that before the next ones. Nothing is approximated; three identities
save the rest of batch norm's passes. With z = r x + s, the normalised input of a convolution by weights w:

- w * z = (r w) * x + w * s, and the second term is the same for all clips;
- z's weight gradient is r times x's, plus s times D, where D is that of an input of ones, which needs only the sum of
  the output's gradients over the clips;
- batch norm's backward needs the sums over all positions of dz and of z dz; they are those of w D and of w dw.
"""

import torch
from torch import nn
from torch.nn import functional

CACHED = 1 << 21  # values of an activation at a time, 8 MB: of 6 clips of Res15, 78 of Res8


def residual_layers(x: torch.Tensor, weights: list[torch.Tensor], norms: list[nn.BatchNorm2d], dilations: list[int],
                    stretches: list[tuple[int, int]]) -> torch.Tensor:
    """Convolution, ReLU and batch norm, once for each of ``weights``, and means over positions.

    The input of each pair of layers is added to its output before the batch norm. Batch norms are without scale and
    shift; those in training mode update their running statistics. ``x`` is (B, C, H, W) on the CPU, ``weights`` are
    (C, C, 3, 3) each. The result is (B, C * P), with gradient to both: the means over each of P ``stretches`` of H,
    from a first to before a last line.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    if torch.is_grad_enabled() or any(norm.training for norm in norms):
        return _Layers.apply(x, norms, dilations, stretches, *weights)
    return torch.cat([_Layers.apply(part, norms, dilations, stretches, *weights) for part in x.split(_clips(x))])


class _Layers(torch.autograd.Function):
    """Activations and their gradients are lists, one tensor for each few clips."""

    @staticmethod
    def forward(ctx, x, norms, dilations, stretches, *weights):
        activations, scale, shift = [list(x.split(_clips(x)))], None, None
        statistics = []  # of every layer's output: mean and 1 / deviation (C,), and whether they are the batch's
        for i, (weight, norm, dilation) in enumerate(zip(weights, norms, dilations, strict=True), 1):
            out, sums = [], torch.zeros(2, x.shape[3] * x.shape[1], dtype=torch.float64)
            scaled, constant = weight, None
            if i > 1:
                scaled = weight * scale[:, None, None]
                image = shift[None, :, None, None].expand(1, *x.shape[1:])  # (1, C, H, W), the same everywhere
                constant = functional.conv2d(image.contiguous(memory_format=torch.channels_last), weight,
                                             padding=dilation, dilation=dilation)
            for part, part_x in enumerate(activations[-1]):
                y = functional.conv2d(part_x, scaled, padding=dilation, dilation=dilation)
                y = y.relu_() if constant is None else y.add_(constant).relu_()
                if i % 2 == 0:
                    y += activations[-2][part]
                if norm.training:
                    lines = _lines(y)
                    sums[0] += lines.sum(0)
                    sums[1] += lines.square().sum(0)
                out.append(y)
            activations.append(out)
            mean, deviation = _statistics(norm, sums, x)
            scale = 1 / deviation
            shift = -mean * scale
            statistics.append((mean, scale, norm.training))
        embedding = torch.cat([_means(y, stretches) for y in out])  # (B, P, C)
        embedding = embedding * scale + shift
        ctx.dilations, ctx.statistics, ctx.stretches, ctx.parts = dilations, statistics, stretches, len(out)
        ctx.save_for_backward(embedding, *weights, *(y for layer in activations for y in layer))
        return embedding.flatten(1)

    @staticmethod
    def backward(ctx, gradient):
        layers = len(ctx.dilations)
        embedding, *saved = ctx.saved_tensors
        weights, saved = saved[:layers], saved[layers:]
        activations = [saved[i:i + ctx.parts] for i in range(0, len(saved), ctx.parts)]
        sizes = [len(y) for y in activations[0]]
        one = activations[0][0][:1]  # a clip, for its shape
        positions = one.shape[2] * one.shape[3]
        count = len(embedding) * positions
        mean, scale, _ = ctx.statistics[-1]
        # Of every layer's normalised output z: scale times dz. A mean spreads the embedding's evenly.
        gradient = gradient.view_as(embedding)
        above = [_spread(dz, ctx.stretches, one) for dz in (gradient * scale).split(sizes)]
        sum_dz, sum_zdz = gradient.sum((0, 1)), (gradient * embedding).sum((0, 1))
        residual, weight_gradients = [None] * ctx.parts, []
        for i in range(layers, 0, -1):
            mean, scale, of_batch = ctx.statistics[i - 1]
            slope = -scale.square() * sum_zdz / count * of_batch
            offset = -scale * sum_dz / count * of_batch - slope * mean
            slope, offset = (vector.repeat(one.shape[3]) for vector in (slope, offset))  # along a line
            weight, dilation = weights[i - 1], ctx.dilations[i - 1]
            if i > 1:
                below_mean, below_scale, _ = ctx.statistics[i - 2]
                below_shift = -below_mean * below_scale
                weight = weight * below_scale[:, None, None]
            dw, summed, below = torch.zeros_like(weight), one.new_zeros(one.numel()), []
            for part, y in enumerate(activations[i]):
                dy = _like(torch.addcmul(offset, slope, _lines(y)), y).add_(above[part])
                if i % 2 == 0:
                    if residual[part] is not None:
                        dy += residual[part]
                    residual[part] = dy
                    y = y - activations[i - 2][part]
                dy = torch.ops.aten.threshold_backward(dy, y, 0)
                dx, by_part = _conv_backward(dy, activations[i - 1][part], weight, dilation)
                below.append(dx)
                dw += by_part
                summed += _lines(dy).view(len(dy), -1).sum(0)
            if i > 1:
                _, by_ones = _conv_backward(_like(summed, one), torch.ones_like(one), weight, dilation)
                dw = dw * below_scale[:, None, None] + by_ones * below_shift[:, None, None]
                sum_dz, sum_zdz = ((weights[i - 1] * by).sum((0, 2, 3)) for by in (by_ones, dw))
            weight_gradients.insert(0, dw)
            above = below
        dx = torch.cat([dx.add_(more) for dx, more in zip(above, residual, strict=True)])
        return dx, None, None, None, *weight_gradients


def _clips(x: torch.Tensor) -> int:
    return max(1, CACHED // x[0].numel())


def _means(x: torch.Tensor, stretches: list[tuple[int, int]]) -> torch.Tensor:
    """(B, C, H, W) to (B, P, C)."""
    return torch.stack([x[:, :, first:last].mean((2, 3)) for first, last in stretches], 1)


def _spread(means: torch.Tensor, stretches: list[tuple[int, int]], one: torch.Tensor) -> torch.Tensor:
    """The gradient (B, C, H, 1) of what `_means` took them of, along W the same, by theirs (B, P, C)."""
    found = means.new_zeros(len(means), means.shape[2], one.shape[2], 1)
    for (first, last), part in zip(stretches, means.unbind(1), strict=True):
        found[:, :, first:last] += (part / ((last - first) * one.shape[3]))[:, :, None, None]
    return found


def _lines(x: torch.Tensor) -> torch.Tensor:
    """Channels-last (B, C, H, W) as (B * H, W * C): long rows, along which a loop over channels is a long one."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[3] * x.shape[1])


def _like(lines: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return lines.view(len(x), x.shape[2], x.shape[3], x.shape[1]).permute(0, 3, 1, 2)


def _conv_backward(dy, x, weight, dilation: int) -> tuple[torch.Tensor, torch.Tensor]:
    dx, dw, _ = torch.ops.aten.convolution_backward(dy, x, weight, None, [1, 1], [dilation] * 2, [dilation] * 2, False,
                                                    [0, 0], 1, [True, True, False])
    return dx, dw


def _statistics(norm: nn.BatchNorm2d, sums: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation (C,) that a batch norm normalises with, from sums along the lines, of values and squares."""
    if not norm.training:
        return norm.running_mean, (norm.running_var + norm.eps).sqrt()
    count = x.numel() // x.shape[1]
    mean, square = sums.view(2, x.shape[3], x.shape[1]).sum(1) / count
    variance = (square - mean.square()).clamp_min(0)
    norm.num_batches_tracked += 1
    share = 1 / norm.num_batches_tracked.item() if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(x.dtype), share)
    norm.running_var.lerp_((variance * count / (count - 1)).to(x.dtype), share)
    return mean.to(x.dtype), (variance + norm.eps).sqrt().to(x.dtype)
