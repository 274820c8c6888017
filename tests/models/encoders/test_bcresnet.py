"""BC-ResNet: the paper's parameters and multiplications, its norm, its residual, and what our front end makes of it."""

import pytest
import torch
from torch.nn import functional

from benchmarks.roofline import multiply_adds
from models.encoders.bcresnet import BCResNet, Block, SubSpectralNorm
from models.encoders.build import make_encoder
from models.runs.options.common import MODELS

# Of the paper's table 2, with its classifier of 12 words, which is our projection.
PARAMETERS = {1: "9.2k", 2: "27.3k", 3: "54.2k", 6: "188k", 8: "321k"}
MULTIPLICATIONS = {1: 3.1e6, 8: 89.1e6}
FRAMES = 98  # of one second by windows of 30 ms every 10 ms
WORDS, BANDS = 12, 40


def rounded(count: int) -> str:
    return f"{count / 1000:.1f}k" if count < 100_000 else f"{count / 1000:.0f}k"


@pytest.mark.parametrize("size", PARAMETERS)
def test_parameters_are_the_papers(size):
    encoder = BCResNet(size, WORDS, BANDS)
    assert rounded(sum(p.numel() for p in encoder.parameters())) == PARAMETERS[size]


def test_multiplications_against_the_papers_figures():
    """The paper counts norms and activations too, which are in proportion to the size, convolutions among channels to
    its square. So the part with the square is the same, and the rest is a few multiplications for every value."""
    ours = {size: multiply_adds(BCResNet(size, WORDS, BANDS), BANDS, FRAMES) for size in MULTIPLICATIONS}
    square, theirs = ((counts[8] - 8 * counts[1]) / 56 for counts in (ours, MULTIPLICATIONS))
    assert square == pytest.approx(theirs, abs=0.05e6 * 9 / 56)  # as far as the paper's rounding lets one know
    for size, count in ours.items():
        encoder, normalised = BCResNet(size, WORDS, BANDS).eval(), []
        for module in encoder.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.register_forward_hook(lambda module, _, out, to=normalised: to.append(out.numel()))
        encoder(torch.zeros(1, BANDS, FRAMES))
        assert 2 * sum(normalised) < MULTIPLICATIONS[size] - count < 4 * sum(normalised)


def test_the_names_are_the_sizes():
    sizes = {name: make_encoder(name, 12).top[1].out_channels / 32 for name in MODELS if name.startswith("BCRes")}
    assert sizes == {"BCRes1": 1, "BCRes1.5": 1.5, "BCRes2": 2, "BCRes3": 3, "BCRes6": 6, "BCRes8": 8}


def test_sub_bands_are_normalised_apart():
    norm = SubSpectralNorm(3, 4)
    x = torch.randn(5, 3, 8, 7) * torch.arange(1.0, 25).view(1, 3, 8, 1) + torch.arange(24.0).view(1, 3, 8, 1)
    out = norm(x)
    for channel in range(3):
        for band in range(4):
            part = x[:, channel, 2 * band:2 * band + 2]
            expected = (part - part.mean()) / (part.var(unbiased=False) + 1e-5).sqrt()
            torch.testing.assert_close(out[:, channel, 2 * band:2 * band + 2], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("before, stride", [(6, 1), (4, 1), (4, 2)])
def test_a_block_broadcasts_what_time_tells_to_every_band(before, stride):
    """From its parts, one position at a time; a block that changes the channels has no shortcut."""
    block = Block(before, 6, 4, stride, dilation=2).eval()
    for module in block.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    x = torch.randn(2, before, 8, 11)
    with torch.no_grad():
        found = block(x)
        inside = x if before == 6 else block.enter(x)
        y = block.frequency(inside)
        along = block.time(y.mean(2)[:, :, None])
        assert y.shape == (2, 6, 8 // stride, 11) and along.shape == (2, 6, 1, 11)
        for band in range(y.shape[2]):
            expected = y[:, :, band] + along[:, :, 0] + (x[:, :, band] if before == 6 else 0)
            torch.testing.assert_close(found[:, :, band], functional.relu(expected))


def test_time_is_seen_as_far_as_the_dilations_reach():
    """To each side by 2 frames in the first and in the last convolution, and by its dilation in each of the blocks."""
    encoder, reach = BCResNet(1, 5).eval(), 2 + 2 * 1 + 2 * 2 + 4 * 4 + 4 * 8 + 2
    x = torch.randn(1, 1, 64, 201).requires_grad_()
    encoder.top[0](encoder.blocks(encoder.stem(x)))[0, :, 0, 100].sum().backward()
    reached = x.grad.abs().sum((0, 1, 2)).nonzero()[:, 0]
    assert (reached.min().item(), reached.max().item()) == (100 - reach, 100 + reach)
