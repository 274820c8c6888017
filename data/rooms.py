"""Reverberation of simulated rooms, a batch at a time on the batch's device.

A room's impulse response is the direct path, the six reflections that met one wall (image sources: Allen & Berkley,
1979, "Image method for efficiently simulating small-room acoustics"), and from the mixing time on noise that decays
exponentially (Polack, 1988), as loud as the density of image sources in a room of that volume makes it. So the
reverberation time is exactly the one drawn, and 200 rooms are ready in a third of a second.
"""

import numpy as np
import torch
from scipy.fft import next_fast_len

from data.augment import chosen_clips, on_chosen
from data.dataset import send
from data.decoding import SAMPLE_RATE

SOUND = 343.0  # m/s
ROOMS = 200
RT60 = (0.1, 0.6)  # seconds: a car, a furnished living room, a bare office
_SMALLEST, _LARGEST = (2.0, 2.5, 2.2), (7.0, 8.0, 3.5)  # m
_FROM_WALL, _NEAREST = 0.3, 0.3  # m
_SECONDS = 0.5  # of a response: by then the longest has fallen by 50 dB


def impulse_responses(count: int, samples: int, rng: np.random.Generator, rt60: tuple[float, float] = RT60
                      ) -> tuple[np.ndarray, np.ndarray]:
    """Random rooms with a talker and a microphone somewhere in each.

    Args:
        samples: of a response; what comes later is cut off.
        rt60: shortest and longest time in which the sound falls by 60 dB, seconds, drawn uniformly.

    Returns:
        (count, samples) float32, the direct path 1 at sample 0; and the time drawn for each, (count,) seconds.
    """
    room = rng.uniform(_SMALLEST, _LARGEST, (count, 3))
    seconds = rng.uniform(*rt60, (count, 1))
    volume = room.prod(1, keepdims=True)
    surface = 2 * (room * np.roll(room, 1, 1)).sum(1, keepdims=True)
    reflected = np.exp(-12 * np.log(10) / SOUND * volume / (surface * seconds))  # of a pressure, by Eyring's formula
    microphone, talker = (rng.uniform(_FROM_WALL, room - _FROM_WALL) for _ in range(2))
    talker = microphone + (talker - microphone) * rng.uniform(0, 1, (count, 1))  # from close by to across the room
    direct = np.linalg.norm(talker - microphone, axis=1, keepdims=True).clip(_NEAREST)

    time = np.arange(samples) / SAMPLE_RATE  # (S,) since the direct path's arrival
    # In dt arrive 4 pi r^2 c dt / V image sources, 1 / r^2 as loud as at 1 m, less what walls took.
    level = np.sqrt(4 * np.pi * SOUND * direct**2 / (volume * SAMPLE_RATE))
    tail = level * 10 ** (-3 * (time + direct / SOUND) / seconds) * rng.standard_normal((count, samples))
    response = tail * (time >= np.sqrt(volume) / 1000)  # the mixing time
    response[:, 0] = 1
    for axis in range(3):
        for wall in (np.zeros(count), room[:, axis]):
            image = talker.copy()
            image[:, axis] = 2 * wall - image[:, axis]
            way = np.linalg.norm(image - microphone, axis=1)
            arrival = np.rint((way - direct[:, 0]) / SOUND * SAMPLE_RATE).astype(int).clip(0)
            heard = np.flatnonzero(arrival < samples)
            response[heard, arrival[heard]] += (reflected * direct)[heard, 0] / way[heard]
    return response.astype(np.float32), seconds[:, 0]


class Reverb(torch.nn.Module):
    """Puts clips into rooms out of a bank that a seed makes.

    The word stays where it is, since the direct path comes first, and each clip keeps its level.

    Args:
        probability: of a clip being in a room.
    """

    def __init__(self, clip_samples: int, probability: float, seed: int = 0):
        super().__init__()
        length = min(clip_samples, round(_SECONDS * SAMPLE_RATE))
        responses, _ = impulse_responses(ROOMS, length, np.random.default_rng([seed, 0x52]))
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
