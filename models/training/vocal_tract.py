"""Other vocal tracts, for training, by moved mel filters: Jaitly & Hinton, 2013, "Vocal tract length perturbation"."""

import torch

from data.augment import chosen_clips
from data.dataset import send
from models.encoders.frontend import MELS, SETTINGS

WARP = 0.15  # largest: formants move by so much either way, as between a man and a child
WARPS = 31  # different factors, evenly from 1 - WARP to 1 + WARP
_KNEE = 4800.0  # Hz: what lies below is multiplied, what lies above led to half the sample rate, which stays


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
