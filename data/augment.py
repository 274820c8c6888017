"""Time shift, speed and background noise, a batch at a time on the batch's device.

The paper's settings: a shift of up to 100 ms and noise, each with probability 0.8 (Vygon & Mikhaylovskiy, 2021). Speed
is not the paper's: tempo and pitch change together, as with another speaker (Ko et al., 2015, "Audio augmentation for
speech recognition").
"""

import sys
from pathlib import Path

import numpy as np
import torch

from data.base.errors import UserError
from data.dataset import send
from data.decoding import SAMPLE_RATE, decode
from data.sources.noise import find_noise
from data.sources.vetting import shortened


def time_shift(waveforms: torch.Tensor, generator: torch.Generator, most: int = SAMPLE_RATE // 10,
               probability: float = 0.8) -> torch.Tensor:
    """Move each clip by a whole number of samples, zeros moving in from the other side.

    Args:
        waveforms: (B, S).
        generator: on the CPU, so that a seed gives one sequence on every device.
        most: largest shift either way, samples.
        probability: of a clip being moved.
    """
    batch, samples = waveforms.shape
    shift = torch.randint(-most, most + 1, (batch, 1), generator=generator)
    shift *= torch.rand(batch, 1, generator=generator) < probability
    source = torch.arange(samples, device=waveforms.device) - send(shift, waveforms.device)  # (B, S)
    inside = (source >= 0) & (source < samples)
    return waveforms.gather(1, source.clamp_(0, samples - 1)) * inside


def change_speed(waveforms: torch.Tensor, generator: torch.Generator, most: float = 0.15) -> torch.Tensor:
    """Play each clip faster or slower around its centre; zeros move in at the ends, or the ends are cut.

    Samples between samples are interpolated linearly.

    Args:
        waveforms: (B, S) floating.
        generator: on the CPU, as in `time_shift`.
        most: the speed is drawn uniformly from 1 - ``most`` to 1 + ``most``.
    """
    batch, samples = waveforms.shape
    speed = torch.empty(batch, 1).uniform_(1 - most, 1 + most, generator=generator)
    centre = (samples - 1) / 2
    source = torch.arange(samples, device=waveforms.device) - centre  # (S,)
    source = centre + source * send(speed, waveforms.device)  # (B, S)
    inside = (source >= 0) & (source <= samples - 1)
    before = source.floor().long().clamp_(0, samples - 1)
    return torch.lerp(waveforms.gather(1, before), waveforms.gather(1, (before + 1).clamp_(max=samples - 1)),
                      (source - before).to(waveforms.dtype)) * inside


class NoiseBank(torch.nn.Module):
    """Recordings of background noise, kept on the device the training runs on.

    Args:
        folder: the audio files in it, at any depth, are the noises, each of at least one clip's length or repeated
            to it; see `find_noise`.
        snr: lowest and highest signal-to-noise ratio, dB, drawn uniformly.
        probability: of a clip getting noise.

    Raises:
        UserError: no such folder, no noise in it, or some that cannot be decoded.
    """

    def __init__(self, folder: str | Path, clip_samples: int, snr: tuple[float, float] = (5.0, 30.0),
                 probability: float = 0.8):
        super().__init__()
        files, unreadable = find_noise(folder)
        if not files:
            unlike = f" ({unreadable[0].name} is in a format that cannot be read: convert it)" if unreadable else ""
            raise UserError(f"{folder}: no noise recordings in this folder{unlike}; --augment needs some "
                            "(--noise_dir, or \"noise\" in manifests.json)")
        if unreadable:
            print(f"{folder}: left out {len(unreadable):,} noise recordings in formats that cannot be read: "
                  + shortened(path.name for path in unreadable), file=sys.stderr)
        noises = [decode(str(path)) for path in files]
        noises = [np.resize(noise, max(len(noise), clip_samples)) for noise in noises]
        length = torch.tensor([len(noise) for noise in noises])
        self.register_buffer("noise", torch.from_numpy(np.concatenate(noises)), persistent=False)  # int16
        self.first = torch.cumsum(length, 0) - length  # (files,), where each begins in self.noise
        self.starts = length - clip_samples + 1  # (files,), how many excerpts each has
        self.clip_samples, self.snr, self.probability = clip_samples, snr, probability

    def forward(self, waveforms: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Add a random excerpt of a random noise to clips (B, S) in [-1, 1]; all-zero clips stay as they are.

        The ratio is that of the mean powers over the whole clip. The sum may exceed 1: nothing later clips it.
        """
        batch = len(waveforms)
        which = torch.randint(len(self.first), (batch,), generator=generator)
        position = (torch.rand(batch, generator=generator, dtype=torch.float64) * self.starts[which]).long()
        ratio = torch.empty(batch, 1).uniform_(*self.snr, generator=generator)
        chosen = torch.rand(batch, 1, generator=generator) < self.probability
        start, ratio, chosen = (send(x, waveforms.device)
                                for x in ((self.first[which] + position)[:, None], ratio, chosen))
        index = start + torch.arange(self.clip_samples, device=waveforms.device)  # (B, S)
        noise = self.noise[index].float()
        signal_power = waveforms.square().mean(1, keepdim=True)  # (B, 1)
        noise_power = noise.square().mean(1, keepdim=True)
        gain = (signal_power / noise_power.clamp_min(1e-3) * 10 ** (-ratio / 10)).sqrt()
        return waveforms + noise * (gain * chosen)
