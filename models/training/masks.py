"""Augmentation of spectrograms: masks, and other vocal tracts by moved mel filters.

These are of Jaitly & Hinton, 2013, "Vocal tract length perturbation".
"""

import torch

from data.audio.dataset import send
from data.augment import chosen_clips
from models.encoders.frontend import MELS, SETTINGS

# Number and largest extent of what is masked, by name: the original's for Speech Commands, which hides 44 % of a
# spectrogram on average, and one of 15 %, with which a small training set can be fitted in a few hundred steps.
MASKS = {"full": {"bands": (2, 15), "stretches": (2, 25), "rectangles": (5, 15, 25)},
         "light": {"bands": (1, 10), "stretches": (1, 15), "rectangles": (0, 0, 0)}}
_ALL = 2**31  # frames: to the end, however long the padding is
WARP = 0.15  # largest: formants move by so much either way, as between a man and a child
WARPS = 31  # different factors, evenly from 1 - WARP to 1 + WARP
_KNEE = 4800.0  # Hz: what lies below is multiplied, what lies above led to half the sample rate, which stays


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


class VocalTracts(torch.nn.Module):
    """Draws a clip's mel filters: the front end's, (64, 257), or with ``probability`` warped ones."""

    def __init__(self, filters: torch.Tensor, probability: float):
        super().__init__()
        factors = torch.linspace(1 - WARP, 1 + WARP, WARPS).tolist()
        filters = torch.stack([filters, *(warped_filters(factor).to(filters) for factor in factors)])
        self.register_buffer("filters", filters, persistent=False)  # (1 + WARPS, 64, 257)
        self.probability = probability

    def forward(self, batch: int, generator: torch.Generator) -> torch.Tensor:
        """Filters (B, 64, 257) on this module's device, for `LogMel`; ``generator`` is on the CPU."""
        which = torch.randint(1, len(self.filters), (batch,), generator=generator)
        which *= chosen_clips(batch, self.probability, generator)
        return self.filters[send(which, self.filters.device)]


def warp(hertz: torch.Tensor, factor: float) -> torch.Tensor:
    """Where the paper's piecewise linear map puts frequencies; half the sample rate is its own."""
    end, knee = SETTINGS["sample_rate"] / 2, _KNEE * min(factor, 1) / factor
    return torch.where(hertz <= knee, hertz * factor, end - (end - knee * factor) / (end - knee) * (end - hertz))


def warped_filters(factor: float) -> torch.Tensor:
    """Slaney's mel filters (64, 257) with their corners warped; those of the front end for a factor of 1."""
    from librosa import mel_frequencies

    end = SETTINGS["sample_rate"] / 2
    corner = warp(torch.from_numpy(mel_frequencies(MELS + 2, fmin=0.0, fmax=end)), factor)  # (66,)
    hertz = torch.linspace(0, end, SETTINGS["n_fft"] // 2 + 1, dtype=torch.float64)
    low, middle, high = (corner[i:MELS + i, None] for i in range(3))
    triangle = torch.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)).clamp_min(0)
    return triangle * 2 / (high - low)
