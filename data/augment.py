"""Time shift, speed, noise, voices, level, bands and rooms, a batch at a time on the batch's device.

The paper has the shift and the noise (Vygon & Mikhaylovskiy, 2021). Speed changes tempo and pitch together, as another
speaker does (Ko et al., 2015). Generators are on the CPU, so that a seed gives one sequence on every device.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.fft import next_fast_len

from data.audio.dataset import send
from data.audio.decoding import SAMPLE_RATE, decode
from data.audio.files import find_noise
from data.audio.rooms import RT60, impulse_responses, measured_responses
from data.base.errors import UserError

VOICES = 3  # at most in the background of a clip
_FLOOR = 1e-3  # mean power of noise, in int16's units, below which it is not made louder
ROOMS = 200
_HEARD = 50 / 60  # of the longest reverberation time: by then a response has fallen by 50 dB


def time_shift(waveforms: torch.Tensor, generator: torch.Generator, most: int = SAMPLE_RATE // 10,
               probability: float = 0.8) -> torch.Tensor:
    """Move clips (B, S), each with a probability, by up to ``most`` samples either way; zeros move in."""
    batch, samples = waveforms.shape
    shift = torch.randint(-most, most + 1, (batch, 1), generator=generator)
    shift *= torch.rand(batch, 1, generator=generator) < probability
    source = torch.arange(samples, device=waveforms.device) - send(shift, waveforms.device)  # (B, S)
    inside = (source >= 0) & (source < samples)
    return waveforms.gather(1, source.clamp_(0, samples - 1)) * inside


def change_speed(waveforms: torch.Tensor, generator: torch.Generator, most: float = 0.15) -> torch.Tensor:
    """Play clips (B, S) floating at 1 - ``most`` to 1 + ``most`` of their speed, around their centre.

    Samples between samples are interpolated linearly. Zeros move in at the ends, or the ends are cut.
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


def chosen_clips(batch: int, probability: float, generator: torch.Generator) -> torch.Tensor:
    """Which clips of a batch an augmentation changes: (B,) bool, on the CPU."""
    return torch.rand(batch, generator=generator) < probability


def on_chosen(work: Callable[..., torch.Tensor], waveforms: torch.Tensor, chosen: torch.Tensor, *rows: torch.Tensor
              ) -> torch.Tensor:
    """``work`` on the clips that were chosen, the others left as they are, to the bit.

    A CPU computes the chosen ones alone; a GPU all of them, since there a batch of another size at every step costs
    more than the clips saved. ``work`` takes clips (B, S) and what belongs to each of ``rows``, (B, ...); returns
    clips. ``chosen`` is (B,) bool, on the CPU.
    """
    if waveforms.device.type != "cpu":
        return torch.where(send(chosen[:, None], waveforms.device), work(waveforms, *rows), waveforms)
    index = torch.from_numpy(np.flatnonzero(chosen.numpy()))
    if not len(index):  # of which MKL cannot take a Fourier transform
        return waveforms
    return waveforms.index_copy(0, index, work(waveforms[index], *(x[index] for x in rows)))


def change_gain(waveforms: torch.Tensor, generator: torch.Generator, decibels: tuple[float, float],
                probability: float) -> torch.Tensor:
    """Make clips (B, S) floating louder or quieter by ``decibels``, drawn uniformly from lowest to highest.

    What passes full scale saturates, as in a recorder, by at most 6 dB.
    """
    batch = len(waveforms)
    gain = 10 ** (torch.empty(batch, 1).uniform_(*decibels, generator=generator) / 20)

    def work(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        most = 2 / x.abs().amax(1, keepdim=True).clamp_min(1e-6)
        return (x * torch.minimum(gain, most)).clamp(-1, 1)

    return on_chosen(work, waveforms, chosen_clips(batch, probability, generator), send(gain, waveforms.device))


def band_limit(waveforms: torch.Tensor, generator: torch.Generator, probability: float) -> torch.Tensor:
    """Cut off low or high frequencies or both, as cheap microphones, small loudspeakers and telephones do.

    A third of the changed clips each gets a high-pass (12 dB an octave, from 100 to 500 Hz), a low-pass (48 dB an
    octave, from 2,500 to 7,000 Hz) or both, of Butterworth's amplitude and no phase. Levels are not made up for.
    """
    batch, samples = waveforms.shape
    kind = torch.randint(3, (batch, 1), generator=generator)
    draw = torch.rand(2, batch, 1, generator=generator)
    low, high = 100 * 5 ** draw[0], 2500 * 2.8 ** draw[1]  # Hz, uniform in the logarithm
    low, high = torch.where(kind == 1, 0.0, low), torch.where(kind == 0, torch.inf, high)
    frequency = torch.fft.rfftfreq(samples, 1 / SAMPLE_RATE, device=waveforms.device).clamp_min(1e-3)

    def work(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        power = 1 / ((1 + (low / frequency) ** 4) * (1 + (frequency / high) ** 16))  # (B, S/2 + 1)
        return torch.fft.irfft(torch.fft.rfft(x) * power.sqrt(), samples)

    return on_chosen(work, waveforms, chosen_clips(batch, probability, generator),
                     *(send(x, waveforms.device) for x in (low, high)))


def babble(waveforms: torch.Tensor, labels: torch.Tensor, generator: torch.Generator, snr: tuple[float, float],
           probability: float) -> torch.Tensor:
    """Add one to `VOICES` other clips of the batch, of other classes, as people talking in the background.

    They are moved round by one random time, so that they do not begin with the word.

    Args:
        waveforms, labels: (B, S) floating and (B,) classes, on one device.
        snr: lowest and highest ratio of the clip's mean power to that of all voices together, dB, drawn uniformly.
        probability: of a clip being talked over; one that no clip drawn for it may be added to stays as it is.
    """
    batch, samples = waveforms.shape
    other = torch.randint(batch, (batch, VOICES), generator=generator)
    many = torch.randint(1, VOICES + 1, (batch, 1), generator=generator)
    moved = torch.randint(samples, (batch, 1), generator=generator)
    ratio = torch.empty(batch, 1).uniform_(*snr, generator=generator)
    chosen = chosen_clips(batch, probability, generator)
    other, many, moved, ratio = (send(x, waveforms.device) for x in (other, many, moved, ratio))
    # The first of those drawn that are of another class, as many as were drawn.
    differs = labels[other] != labels[:, None]  # (B, VOICES)
    heard = differs & (differs.cumsum(1) <= many)

    def work(x: torch.Tensor, other: torch.Tensor, heard: torch.Tensor, moved: torch.Tensor, ratio: torch.Tensor
             ) -> torch.Tensor:
        voices = sum(waveforms[other[:, i]] * heard[:, i:i + 1] for i in range(VOICES))
        voices = voices.gather(1, (torch.arange(samples, device=x.device) + moved) % samples)
        return x + voices * _noise_gain(x, voices, ratio, _FLOOR / 2**30)

    return on_chosen(work, waveforms, chosen, other, heard, moved, ratio)


def _noise_gain(waveforms: torch.Tensor, noise: torch.Tensor, ratio: torch.Tensor, floor: float) -> torch.Tensor:
    """What noise (B, S) is multiplied by for its mean power to lie ``ratio`` (B, 1) dB below the clips': (B, 1)."""
    signal_power = waveforms.square().mean(1, keepdim=True)
    noise_power = noise.square().mean(1, keepdim=True)
    return (signal_power / noise_power.clamp_min(floor) * 10 ** (-ratio / 10)).sqrt()


class NoiseBank(torch.nn.Module):
    """Recordings of background noise, kept on the device the training runs on.

    Raises UserError where there is no such folder, no noise in it, or some that cannot be decoded.

    Args:
        folder: its audio files, at any depth, are the noises. One shorter than a clip is repeated to its length.
        snr: lowest and highest signal-to-noise ratio, dB, drawn uniformly.
        probability: of a clip getting noise.

    Attributes:
        digest: SHA-1 of the recordings' samples, in the order they are drawn from.
    """

    def __init__(self, folder: str | Path, clip_samples: int, snr: tuple[float, float] = (5.0, 30.0),
                 probability: float = 0.8):
        super().__init__()
        files = find_noise(folder)
        if not files:
            what = "no noise recordings that can be read in this folder" if Path(folder).is_dir() else "no such folder"
            raise UserError(f"{folder}: {what}; name one that has some (--noise_dir, or \"noise\" in manifests.json)")
        noises = [decode(str(path)) for path in files]
        noises = [np.resize(noise, max(len(noise), clip_samples)) for noise in noises]
        length = torch.tensor([len(noise) for noise in noises])
        joined = np.concatenate(noises)
        self.digest = hashlib.sha1(joined).hexdigest()
        self.noise = torch.from_numpy(joined)  # (samples,) int16, which gloo and NCCL cannot send: no buffer
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
        self.noise = self.noise.to(waveforms.device)  # once, as a module's own tensors
        noise = self.noise[index].float()
        return waveforms + noise * (_noise_gain(waveforms, noise, ratio, _FLOOR) * chosen)


class Reverb(torch.nn.Module):
    """Puts clips into rooms, each with a probability: those measured in a folder, or a bank that a seed makes.

    The word stays where it is, since the direct path comes first, and each clip keeps its level. ``digest`` is of the
    measured responses; None of simulated ones.
    """

    def __init__(self, clip_samples: int, probability: float, seed: int = 0, folder: str | Path | None = None,
                 rt60: tuple[float, float] = RT60):
        super().__init__()
        if folder is None:
            length, self.digest = min(clip_samples, round(_HEARD * rt60[1] * SAMPLE_RATE)), None
            responses, _ = impulse_responses(ROOMS, length, np.random.default_rng([seed, 0x52]), rt60)
        else:
            length = clip_samples
            responses = measured_responses(folder, length)
            self.digest = hashlib.sha1(responses.tobytes()).hexdigest()
        self.register_buffer("responses", torch.from_numpy(responses), persistent=False)  # (R, L)
        self.probability, self.clip_samples = probability, clip_samples
        self.size = next_fast_len(clip_samples + length - 1, real=True)

    def forward(self, waveforms: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Clips (B, S) floating as the rooms drawn for them make them; all-zero clips stay as they are."""
        batch = len(waveforms)
        room = send(torch.randint(len(self.responses), (batch,), generator=generator), waveforms.device)
        return on_chosen(self._heard, waveforms, chosen_clips(batch, self.probability, generator), room)

    def _heard(self, waveforms: torch.Tensor, room: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft(waveforms, self.size) * torch.fft.rfft(self.responses[room], self.size)
        wet = torch.fft.irfft(spectrum, self.size)[:, :self.clip_samples]
        before, after = (x.square().mean(1, keepdim=True) for x in (waveforms, wet))
        return wet * (before / after.clamp_min(1e-20)).sqrt()
