"""What a clip is heard as besides: in a simulated room, and beside noise, so that words are found there, too.

A word's model is the mean of its clips as they are, which count half, and of these. The whitening of a cohort is learnt
from both, so that it takes them for what clips of one word differ in.
"""

import hashlib
from functools import cache

import numpy as np
from numpy.fft import irfft, rfft, rfftfreq

from data.audio.decoding import SAMPLE_RATE
from data.audio.rooms import impulse_responses
from spotting.sound.noise import speech_power

WEIGHTS = (0.5, 0.25, 0.25)  # of a clip as it is, in a room, in noise
RT60 = (0.2, 2.5)  # seconds
SNR = 10.0  # dB
ROOMS = 100
_LOWEST = 50.0  # Hz, of noise


def heard_elsewhere(windows: np.ndarray) -> np.ndarray:
    """(K, S) int16 windows of a clip as loud as before in a room, and in noise whose spectrum falls by 0 to 6 dB an
    octave: (2, K, S) int16. Both are drawn by the clip's own samples, so that it is heard alike among any others."""
    rng = np.random.default_rng(int(hashlib.sha1(np.ascontiguousarray(windows)).hexdigest(), 16))
    room = _rooms(windows.shape[1])[rng.integers(ROOMS)]
    slope = rng.uniform(0, 2)
    sound = windows.astype(np.float64)
    size = 2 * windows.shape[1]
    wet = irfft(rfft(sound, size) * rfft(room, size), size)[:, :windows.shape[1]]
    wet *= np.sqrt((sound**2).sum() / max((wet**2).sum(), 1e-9))
    noisy = sound + _noise(windows.shape, slope, rng) * np.sqrt(speech_power(iter(windows)) * 10 ** (-SNR / 10))
    return np.clip(np.rint([wet, noisy]), -32768, 32767).astype(np.int16)


@cache
def _rooms(samples: int) -> np.ndarray:
    return impulse_responses(ROOMS, samples, np.random.default_rng(0), RT60)[0]


def _noise(shape: tuple[int, int], slope: float, rng: np.random.Generator) -> np.ndarray:
    """Noise (K, S) of power 1 whose power falls as frequency to the ``slope``."""
    frequency = rfftfreq(shape[1], 1 / SAMPLE_RATE)
    amplitude = np.where(frequency < _LOWEST, 0, np.maximum(frequency, _LOWEST) ** (-slope / 2))
    parts = rng.standard_normal((2, shape[0], len(frequency)))
    noise = irfft(amplitude * (parts[0] + 1j * parts[1]), shape[1])
    return noise / noise.std(1, keepdims=True)
