"""QuartzNet (Kriman et al., 2020, arXiv:1910.10261) as the original has it: convolutions over time, from NeMo."""

import logging

import torch
from torch import nn

from models.encoders.frontend import MELS

# (filters, kernel, repeats, stride, dilation, residual) of all blocks but the last, which is a 1x1 convolution.
BLOCKS = (
    (256, 33, 1, 2, 1, False),  # halves the frame rate
    (256, 33, 5, 1, 1, True), (256, 39, 5, 1, 1, True), (256, 39, 5, 1, 1, True), (512, 51, 5, 1, 1, True),
    (512, 51, 5, 1, 1, True), (512, 63, 5, 1, 1, True), (512, 75, 5, 1, 1, True),
    (512, 87, 1, 1, 2, False))


class Quartz(nn.Module):
    """Spectrogram of ``frames`` frames to embedding of size ``width``, by a QuartzNet and a linear layer on all of its
    frames. The last block has ``filters``: the original has 128 or 1024, by data set."""

    def __init__(self, width: int = 128, filters: int = 1024, frames: int = 112):
        super().__init__()
        logging.getLogger("nv_one_logger").setLevel(logging.ERROR)  # of telemetry, of which there is none
        from nemo.collections.asr.modules import ConvASREncoder  # eight seconds, so not before it is wanted

        self.width, self.frames = width, frames
        blocks = [{"filters": size, "kernel": [kernel], "repeat": repeats, "stride": [stride], "dilation": [dilation],
                   "dropout": 0.0, "residual": residual, "separable": kernel > 1}
                  for size, kernel, repeats, stride, dilation, residual in (*BLOCKS, (filters, 1, 1, 1, 1, False))]
        # All frames are valid, so no convolution masks any.
        self.quartznet = ConvASREncoder(blocks, activation="relu", feat_in=MELS, conv_mask=False)
        self.linear = nn.Linear(filters * -(-frames // 2), width)

    def forward(self, spectrograms: torch.Tensor) -> torch.Tensor:
        """(B, F, T) log-mel to (B, D), not normalised."""
        frames = self.quartznet.encoder(([spectrograms], None))[0][-1]  # (B, filters, T / 2)
        return self.linear(frames.flatten(1))
