"""Room impulse responses: simulated ones, and those measured in a folder of recordings.

A simulated one is the direct path, the six reflections that met one wall (image sources: Allen & Berkley, 1979), and
from the mixing time on noise that decays exponentially (Polack, 1988), as loud as the density of image sources in a
room of that volume makes it. So the reverberation time is exactly the one drawn.
"""

from pathlib import Path

import numpy as np
import soxr

from data.audio.decoding import SAMPLE_RATE, open_audio
from data.audio.files import find_noise
from data.base.errors import UserError

SOUND = 343.0  # m/s
RT60 = (0.1, 0.6)  # seconds: a car, a furnished living room, a bare office
_SMALLEST, _LARGEST = (2.0, 2.5, 2.2), (7.0, 8.0, 3.5)  # m
_FROM_WALL, _NEAREST = 0.3, 0.3  # m


def impulse_responses(count: int, samples: int, rng: np.random.Generator, rt60: tuple[float, float] = RT60
                      ) -> tuple[np.ndarray, np.ndarray]:
    """Random rooms with a talker and a microphone somewhere in each.

    Longer times than `RT60` has are those of larger rooms, the same shapes enlarged by up to as much as the time is
    longer; the talker is no further away there.

    Args:
        rt60: shortest and longest time in which the sound falls by 60 dB, seconds, drawn uniformly.

    Returns:
        (count, samples) float32, the direct path 1 at sample 0; and the time drawn for each, (count,) seconds.
    """
    room = rng.uniform(_SMALLEST, _LARGEST, (count, 3))
    seconds = rng.uniform(*rt60, (count, 1))
    larger = np.ones((count, 1))
    if rt60[1] > RT60[1]:
        larger = rng.uniform(1, np.maximum(1, seconds / RT60[1]))
        room *= larger
    volume = room.prod(1, keepdims=True)
    surface = 2 * (room * np.roll(room, 1, 1)).sum(1, keepdims=True)
    reflected = np.exp(-12 * np.log(10) / SOUND * volume / (surface * seconds))  # of a pressure, by Eyring's formula
    microphone, talker = (rng.uniform(_FROM_WALL, room - _FROM_WALL) for _ in range(2))
    # From close by to across a room that is not enlarged.
    talker = microphone + (talker - microphone) * rng.uniform(0, 1, (count, 1)) / larger
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


def measured_responses(folder: str | Path, samples: int) -> np.ndarray:
    """(R, samples) float32: the room responses that the recordings in a folder are, one a channel.

    Each begins with its highest peak, the direct path, which is 1. Raises UserError where one cannot be read.
    """
    files = find_noise(folder)
    if not files:
        raise UserError(f"{folder}: has no recordings of room responses in it; name a folder of audio files")
    found = []
    for path in files:
        with open_audio(str(path)) as file:
            channels, rate = file.read(dtype="float64", always_2d=True).T, file.samplerate
        for channel in channels:
            response = soxr.resample(channel, rate, SAMPLE_RATE)
            start = int(np.abs(response).argmax())
            if not np.isfinite(response).all() or not response[start]:
                raise UserError(f"{path}: is silent, or not all numbers; a room response begins with a click")
            response = response[start:start + samples] / response[start]
            found.append(np.pad(response, (0, samples - len(response))))
    return np.stack(found).astype(np.float32)
