"""Masks on spectrograms, for training."""

import torch

from data.dataset import send

# Number and largest extent of what is masked, by name: the original's for Speech Commands, which hides 44 % of a
# spectrogram on average, and one of 15 %, with which a small training set can be fitted in a few hundred steps.
MASKS = {"full": {"bands": (2, 15), "stretches": (2, 25), "rectangles": (5, 15, 25)},
         "light": {"bands": (1, 10), "stretches": (1, 15), "rectangles": (0, 0, 0)}}
_ALL = 2**31  # frames: to the end, however long the padding is


class SpectrogramMasks(torch.nn.Module):
    """Zero out random bands (number, largest height in mels), stretches (number, largest width in frames) and
    rectangles (number, largest height and width) inside the valid frames, for a whole batch at once."""

    def __init__(self, bands: tuple[int, int], stretches: tuple[int, int], rectangles: tuple[int, int, int]):
        super().__init__()
        (many_bands, band), (many_stretches, stretch), (many, height, width) = bands, stretches, rectangles
        self.heights = torch.tensor([band] * many_bands + [0] * many_stretches + [height] * many)  # (M,); 0: all
        self.widths = torch.tensor([0] * many_bands + [stretch] * many_stretches + [width] * many)

    def draw(self, batch: int, mels: int, frames: int, generator: torch.Generator, device: torch.device
             ) -> torch.Tensor:
        """Where the masks of a batch begin and end, in mels and in frames: (2, 2, B, M, 1) integers on ``device``.
        ``frames`` are valid; ``generator`` is on the CPU."""
        spans = [self._inside(largest, batch, limit, size, generator)
                 for largest, limit, size in ((self.heights, mels, mels), (self.widths, frames, _ALL))]
        return send(torch.stack(spans), device)  # a few numbers a clip, not all its positions

    def forward(self, spectrograms: torch.Tensor, spans: torch.Tensor) -> torch.Tensor:
        """Mask (B, F, T) where `draw` said."""
        bands, stretches = (self._hit(*ends, size) for ends, size in zip(spans, spectrograms.shape[1:], strict=True))
        return spectrograms * (bands.transpose(1, 2) @ stretches == 0)  # the number of masks that hit a cell

    @staticmethod
    def _inside(largest: torch.Tensor, batch: int, limit: int, whole: int, generator: torch.Generator) -> torch.Tensor:
        """Beginnings and ends (2, B, M, 1) of random spans within [0, limit), or from 0 to ``whole``."""
        draw = torch.rand(2, batch, len(largest), generator=generator)
        span = (draw[0] * (largest.clamp(max=limit) + 1)).long()  # 0 ... largest
        start = (draw[1] * (limit - span + 1)).long()
        span = torch.where(largest == 0, whole, span)[..., None]
        start = torch.where(largest == 0, 0, start)[..., None]
        return torch.stack([start, start + span])

    @staticmethod
    def _hit(first: torch.Tensor, last: torch.Tensor, size: int) -> torch.Tensor:
        """Which of ``size`` positions lie inside spans (B, M, 1): (B, M, size), 1 or 0 in float32."""
        position = torch.arange(size, device=first.device)
        return ((position >= first) & (position < last)).float()
