"""QuartzNet (Kriman et al., 2020, arXiv:1910.10261): separable one-dimensional convolutions over time, from NeMo."""

import logging

import torch
from torch import nn

from models.encoders.frontend import MELS

# The eight blocks of a QuartzNet 5x1, (filters, kernel): C1, B1-B5, C2 and C3 of the paper.
BLOCKS = ((256, 33), (256, 33), (256, 39), (512, 51), (512, 63), (512, 75), (512, 87), (1024, 1))
RESIDUAL = range(1, 6)  # the blocks B
STRIDE = {0: 2}  # C1 halves the frame rate
DILATION = {6: 2}  # C2


class Quartz(nn.Module):
    """Spectrogram to embedding by a QuartzNet, the mean over time, and a linear projection to ``width``."""

    def __init__(self, width: int = 45):
        super().__init__()
        logging.getLogger("nv_one_logger").setLevel(logging.ERROR)  # of telemetry, of which there is none
        from nemo.collections.asr.modules import ConvASREncoder  # eight seconds, so not before it is wanted

        self.width = width
        blocks = [{"filters": filters, "kernel": [kernel], "repeat": 1, "stride": [STRIDE.get(i, 1)],
                   "dilation": [DILATION.get(i, 1)], "dropout": 0.0, "residual": i in RESIDUAL, "separable": True}
                  for i, (filters, kernel) in enumerate(BLOCKS)]
        # All frames are valid, so no convolution masks any.
        self.quartznet = ConvASREncoder(blocks, activation="relu", feat_in=MELS, conv_mask=False).encoder
        self.project = nn.LazyLinear(width)  # its input size is whatever the last block gives
        with torch.no_grad():
            self(torch.zeros(2, MELS, 16))  # sets it; two clips, since batch norm is in training mode
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.reset_running_stats()  # the zeros above are no data

    def forward(self, spectrograms: torch.Tensor) -> torch.Tensor:
        """(B, F, T) log-mel to (B, D), not normalised; any T."""
        frames = self.quartznet(([spectrograms], None))[0][-1]  # (B, 1024, T / 2)
        return self.project(frames.mean(2))
