"""Masks on spectrograms, for training."""

import torch

from data.dataset import send

# Number and largest extent of what is masked, by name: the original's for Speech Commands, which hides 44 % of a
# spectrogram on average, and one of 15 %, with which a small training set can be fitted in a few hundred steps.
MASKS = {"full": {"bands": (2, 15), "stretches": (2, 25), "rectangles": (5, 15, 25)},
         "light": {"bands": (1, 10), "stretches": (1, 15), "rectangles": (0, 0, 0)}}


class SpectrogramMasks(torch.nn.Module):
    """Zero out random bands (number, largest height in mels), stretches (number, largest width in frames) and
    rectangles (number, largest height and width) inside the valid frames, for a whole batch at once."""

    def __init__(self, bands: tuple[int, int], stretches: tuple[int, int], rectangles: tuple[int, int, int]):
        super().__init__()
        (many_bands, band), (many_stretches, stretch), (many, height, width) = bands, stretches, rectangles
        self.heights = torch.tensor([band] * many_bands + [0] * many_stretches + [height] * many)  # (M,); 0: all
        self.widths = torch.tensor([0] * many_bands + [stretch] * many_stretches + [width] * many)

    def forward(self, spectrograms: torch.Tensor, frames: int, generator: torch.Generator) -> torch.Tensor:
        """Mask (B, F, T), of whose T frames the first ``frames`` are valid; ``generator`` is on the CPU."""
        batch, mels, time = spectrograms.shape
        device = spectrograms.device
        bands = self._inside(self.heights, batch, mels, mels, device, generator)  # (B, M, F)
        stretches = self._inside(self.widths, batch, frames, time, device, generator)  # (B, M, T)
        return spectrograms * (bands.transpose(1, 2) @ stretches == 0)  # the number of masks that hit a cell

    @staticmethod
    def _inside(largest: torch.Tensor, batch: int, limit: int, size: int, device: torch.device,
                generator: torch.Generator) -> torch.Tensor:
        """Which of ``size`` positions lie inside random spans within [0, limit): (B, M, size), 1 or 0 in float32."""
        draw = torch.rand(2, batch, len(largest), generator=generator)
        span = (draw[0] * (largest.clamp(max=limit) + 1)).long()  # 0 ... largest
        start = (draw[1] * (limit - span + 1)).long()
        span = torch.where(largest == 0, size, span)[..., None]
        start = torch.where(largest == 0, 0, start)[..., None]
        first, last = send(torch.stack([start, start + span]), device)  # a few numbers a clip, not all its positions
        position = torch.arange(size, device=device)
        return ((position >= first) & (position < last)).float()
