"""An encoder with its front end: what is to be used, not trained."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from data.audio.decoding import SAMPLE_RATE
from data.dataset import scale
from models.context import SHARED
from models.encoders.build import embed
from models.encoders.device import full_float32
from models.encoders.frontend import LogMel


class WaveformEncoder(nn.Module):
    """Waveforms to unit embeddings of size ``width``, as the scripts make them. A clip is cut or padded to
    ``clip_samples``, as in training."""

    def __init__(self, encoder: nn.Module, clip_seconds: float, compression: str = "log"):
        super().__init__()
        self.encoder, self.frontend = encoder, LogMel(compression)
        self.width, self.clip_samples = encoder.width, round(clip_seconds * SAMPLE_RATE)

    @torch.no_grad()
    @full_float32()
    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Unit embeddings (B, D) of waveforms (B, S) at 16 kHz, floating in [-1, 1] or int16, computed in full float32.
        A longer one is cut around its centre, a shorter one zero-padded at its end, or at both ends for an encoder with
        context. Raises ValueError for other shapes or types."""
        if waveforms.ndim != 2 or not (waveforms.is_floating_point() or waveforms.dtype == torch.int16):
            raise ValueError(f"waveforms must be (B, S), floating or int16, not {waveforms.dtype} of shape "
                             f"{tuple(waveforms.shape)}")
        surplus = waveforms.shape[1] - self.clip_samples
        if surplus > 0:
            waveforms = waveforms[:, surplus // 2:surplus // 2 + self.clip_samples]
        before = -surplus // 2 * (self.frontend.compression == SHARED) if surplus < 0 else 0
        waveforms = functional.pad(waveforms, (before, max(0, -surplus) - before))
        return embed(self.encoder, self._spectrograms(waveforms))

    @torch.no_grad()
    @full_float32()
    def rows(self, waveforms: torch.Tensor) -> torch.Tensor:
        """What windows share (B, R, C) of waveforms (B, S) of any length from a clip's on, for an encoder with context:
        the mean over frequency of each row of frames (480 samples) that has all its context."""
        found = self.encoder.means(self._spectrograms(waveforms))
        return found.view(len(waveforms), -1, len(self.encoder.conv0.weight))

    def projection(self) -> tuple[np.ndarray, np.ndarray]:
        """Weight (D, P * C) and bias (D,) that make an embedding of a clip's means, before it is scaled to length 1."""
        project = self.encoder.project
        if isinstance(project, nn.Linear):
            return project.weight.detach().cpu().numpy(), project.bias.detach().cpu().numpy()
        return np.eye(self.width, dtype=np.float32), np.zeros(self.width, np.float32)

    def _spectrograms(self, waveforms: torch.Tensor) -> torch.Tensor:
        x = waveforms.float() if waveforms.is_floating_point() else scale(waveforms)
        return self.frontend(x.to(self.frontend.window.device))
