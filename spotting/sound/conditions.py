"""Sound as it would be heard elsewhere: recordings with noise added, and clips in simulated rooms and beside noise.

A word has two models: the mean of its clips as they are, which count half, in a room and in noise; and their mean in
halls, where a word sounds so differently that one mean does not do for both. The whitening of a cohort is learnt from
the first three, so that it takes them for what clips of one word differ in.
"""

import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.fft import irfft, rfft, rfftfreq

from data.audio.decoding import SAMPLE_RATE, decode, to_int16
from data.audio.rooms import impulse_responses
from data.base.errors import UserError
from spotting.sound.blocks import Sound, files_of

RT60, HALLS = (0.2, 2.5), (0.8, 4.0)  # seconds of reverberation, in the rooms of the first and the second model
IN_HALLS = 4  # halls that a clip is heard in
WEIGHTS = (0.5, 0.25, 0.25, *[0] * IN_HALLS), (0, 0, 0, *[1 / IN_HALLS] * IN_HALLS)  # as it is, room, noise, halls
SNR, ROOMS = 10.0, 100  # dB; how many rooms, and how many halls, a clip's are drawn from
_LOWEST = 50.0  # Hz, of noise
_FRAME = SAMPLE_RATE // 100
_ACTIVE = 10 ** -2.5  # of a loud frame's power, from which one counts as speech: 25 dB below


def heard_elsewhere(windows: np.ndarray, halls: int = IN_HALLS) -> np.ndarray:
    """(K, S) int16 windows of a clip as loud as before in a room, in noise whose spectrum falls by 0 to 6 dB an octave,
    and in so many halls: (2 + ``halls``, K, S) int16. The clip's own samples draw them, so it is always heard alike."""
    rng = np.random.default_rng(int(hashlib.sha1(np.ascontiguousarray(windows)).hexdigest(), 16))
    room = _rooms(windows.shape[1], RT60)[rng.integers(ROOMS)]
    slope = rng.uniform(0, 2)
    noise = _noise(windows.shape, slope, rng) * np.sqrt(speech_power(iter(windows)) * 10 ** (-SNR / 10))
    drawn = _rooms(windows.shape[1], HALLS)[rng.choice(ROOMS, halls, replace=False)]
    wet = [_in_room(windows, response) for response in (room, *drawn)]
    return to_int16(np.stack([wet[0], windows + noise, *wet[1:]]) / 32768)


@cache
def _rooms(samples: int, rt60: tuple[float, float]) -> np.ndarray:
    return impulse_responses(ROOMS, samples, np.random.default_rng(0), rt60)[0]


def _in_room(windows: np.ndarray, room: np.ndarray) -> np.ndarray:
    sound, size = windows.astype(np.float64), 2 * windows.shape[1]
    wet = irfft(rfft(sound, size) * rfft(room, size), size)[:, :windows.shape[1]]
    return wet * np.sqrt((sound**2).sum() / max((wet**2).sum(), 1e-9))


def _noise(shape: tuple[int, int], slope: float, rng: np.random.Generator) -> np.ndarray:
    """Noise (K, S) of power 1 whose power falls as frequency to the ``slope``."""
    frequency = rfftfreq(shape[1], 1 / SAMPLE_RATE)
    amplitude = np.where(frequency < _LOWEST, 0, np.maximum(frequency, _LOWEST) ** (-slope / 2))
    parts = rng.standard_normal((2, shape[0], len(frequency)))
    noise = irfft(amplitude * (parts[0] + 1j * parts[1]), shape[1])
    return noise / noise.std(1, keepdims=True)


class Noise:
    """Noise recordings, from which each sound gets a stretch of one: which, a seed and the sound's number decide.

    ``snr`` is in decibels: the mean power of the sound's frames with speech to that of the noise, without its offset.
    Raises UserError: no audio in the folder, or some that cannot be decoded or has nothing to hear.
    """

    def __init__(self, folder: Path, snr: float, seed: int = 0, say: Callable[[str], None] = print):
        self.noises, self.ratio, self.seed = [], 10 ** (-snr / 10), seed
        for file in files_of([folder], "--noise", say):
            self.noises.append(decode(file))
            if np.ptp(self.noises[-1]) == 0:
                raise UserError(f"--noise: {file} is one value throughout, which is no noise; leave it out")

    def added_to(self, number: int, again: Callable[[], Sound]) -> Sound:
        """A sound with noise. ``again`` opens it; that happens twice, since its level comes first."""
        level = speech_power(again().blocks)
        rng = np.random.default_rng([self.seed, number])
        noise = self.noises[rng.integers(len(self.noises))].astype(np.float32)
        start = int(rng.integers(len(noise)))
        noise -= noise.mean(dtype=np.float64)
        gain = np.sqrt(level * self.ratio / noise.var(dtype=np.float64))
        sound = again()

        def blocks() -> Iterator[np.ndarray]:
            at = start
            for block in sound.blocks:
                part = noise.take(range(at, at + len(block)), mode="wrap")
                at += len(block)
                yield to_int16((block + gain * part) / 32768)

        return Sound(sound.name, blocks(), sound.seconds)


def speech_power(blocks: Iterator[np.ndarray]) -> float:
    """The mean power, of int16 values squared, of the 10 ms frames within 25 dB of the loudest but one in a hundred."""
    powers, rest = [np.zeros(1, np.float32)], np.zeros(0, np.int16)
    for block in blocks:
        samples = np.concatenate([rest, block])
        frames, rest = np.split(samples, [len(samples) // _FRAME * _FRAME])
        powers.append(frames.reshape(-1, _FRAME).astype(np.float32).var(1))
    power = np.concatenate(powers)
    active = power[power >= _ACTIVE * np.quantile(power, 0.99)]
    return float(active.mean(dtype=np.float64))
