"""The scale of cosines that a loss learns."""

import math

import torch
from torch import nn


class LearntScale(nn.Module):
    """Multiplies by a positive number that is learnt, as its logarithm.

    The losses that have it add a bias too in their papers. The same for all classes, it drops out of a softmax, and
    its gradient is 0; so there is none here.
    """

    def __init__(self, scale: float):
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, cosines: torch.Tensor) -> torch.Tensor:
        return cosines * self.value

    @property
    def value(self) -> torch.Tensor:
        return self.log.exp()
