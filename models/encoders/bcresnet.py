"""BC-ResNet (Kim, Chang, Lee & Sung, 2021, arXiv:2106.04140): residual branches along time, broadcast over frequency.

The paper reads 40 mels, and our front end gives 64. Where the paper has 5, an eighth of its bands (the sub-bands that
are normalised apart, the height left before the last depthwise convolution and that convolution's height), there is 8
here. `BCResNet(mels=40)` is the paper's own network.
"""

import torch
from torch import nn
from torch.nn import functional

from models.encoders.frontend import MELS

STEM, LAST = 16, 32  # channels of the first and of the last convolution at size 1
STAGES = ((2, 8, 1), (2, 12, 2), (4, 16, 2), (4, 20, 1))  # blocks, channels at size 1, stride over frequency
SHRINK = 8  # what the strides make of the bands: the stem's is 2, and two of the stages'
DROPOUT = 0.1


class BCResNet(nn.Module):
    """Spectrogram of ``mels`` bands (a multiple of 8) to embedding of size ``width``; table 1 of the paper, whose
    classifier is the projection here. ``size`` is the paper's tau, by which every number of channels is multiplied."""

    def __init__(self, size: float, width: int = 45, mels: int = MELS):
        super().__init__()
        self.width = width
        bands = mels // SHRINK
        stem, last = round(STEM * size), round(LAST * size)
        self.stem = nn.Sequential(nn.Conv2d(1, stem, 5, stride=(2, 1), padding=2, bias=False), nn.BatchNorm2d(stem),
                                  nn.ReLU())
        blocks, before = [], stem
        for stage, (count, channels, stride) in enumerate(STAGES):
            channels = round(channels * size)
            for i in range(count):
                blocks.append(Block(before, channels, bands, stride if i == 0 else 1, 2 ** stage))
                before = channels
        self.blocks = nn.Sequential(*blocks)
        self.top = nn.Sequential(
            nn.Conv2d(before, before, (bands, 5), padding=(0, 2), groups=before, bias=False),  # over all of frequency
            nn.Conv2d(before, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU())
        self.project = nn.Linear(last, width)

    def forward(self, spectrograms: torch.Tensor) -> torch.Tensor:
        """(B, F, T) log-mel to (B, D), not normalised; any T."""
        x = self.stem(spectrograms.unsqueeze(1))  # (B, C, F / 2, T)
        x = self.top(self.blocks(x))  # (B, C, 1, T)
        return self.project(x.mean((2, 3)))


class Block(nn.Module):
    """Broadcasted residual: what the mean over frequency tells along time is added to every band. A block that changes
    the number of channels (the paper's transition block) begins with a 1x1 convolution and has no identity shortcut.
    The stride is over frequency, the dilation over time."""

    def __init__(self, before: int, channels: int, bands: int, stride: int, dilation: int):
        super().__init__()
        self.enter = None
        if before != channels:
            self.enter = nn.Sequential(nn.Conv2d(before, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        self.frequency = nn.Sequential(
            nn.Conv2d(channels, channels, (3, 1), stride=(stride, 1), padding=(1, 0), groups=channels, bias=False),
            SubSpectralNorm(channels, bands))
        self.time = nn.Sequential(
            nn.Conv2d(channels, channels, (1, 3), padding=(0, dilation), dilation=(1, dilation), groups=channels,
                      bias=False),
            nn.BatchNorm2d(channels), nn.SiLU(), nn.Conv2d(channels, channels, 1, bias=False), nn.Dropout2d(DROPOUT))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, F, T) to (B, C', F / stride, T)."""
        y = self.frequency(x if self.enter is None else self.enter(x))
        y = y + self.time(y.mean(2, keepdim=True))  # (B, C', 1, T), the same for every band
        return functional.relu(y if self.enter is not None else x + y)


class SubSpectralNorm(nn.Module):
    """Batch norm of each group of neighbouring bands apart (Chang et al., 2021, arXiv:2103.13620)."""

    def __init__(self, channels: int, bands: int):
        super().__init__()
        self.bands = bands
        self.norm = nn.BatchNorm2d(channels * bands)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, F, T), F a multiple of the number of sub-bands, to the same shape."""
        batch, channels, height, frames = x.shape
        apart = x.reshape(batch, channels * self.bands, height // self.bands, frames)
        return self.norm(apart).reshape(x.shape)
