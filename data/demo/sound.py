"""What a spoken word becomes before it is a clip: trimmed, placed in a second, in noise; and the noise by itself."""

from pathlib import Path

import numpy as np

from data.audio.decoding import to_int16
from data.audio.files import write_sound

SHIFT_SECONDS = 0.1
NOISE_SECONDS, NOISE_PEAK = 30, 0.5
NOISES = ("white", "pink", "babble")
SAMPLE_RATE = 16_000
PEAKS_DB, SNRS_DB = (-24.0, -2.0), (20.0, 40.0)


def trim(samples: np.ndarray) -> np.ndarray:
    """(T,) without the silence at both ends: what lies 60 dB or more under the peak."""
    loud = np.flatnonzero(np.abs(samples) > 1e-3 * np.abs(samples).max(initial=0))
    return samples[loud[0]:loud[-1] + 1] if len(loud) else samples[:0]


def place(word: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(16000,) in [-1, 1]: a word (T,) near the middle, at a random level, over some coloured noise."""
    room = SAMPLE_RATE - len(word)
    shift = rng.uniform(-SHIFT_SECONDS, SHIFT_SECONDS) * SAMPLE_RATE
    start = int(np.clip(room / 2 + shift, 0, room))
    word = word * (10 ** (rng.uniform(*PEAKS_DB) / 20) / np.abs(word).max())
    power = np.mean(word ** 2) * 10 ** (-rng.uniform(*SNRS_DB) / 10)
    clip = coloured_noise(SAMPLE_RATE, rng.uniform(0, 1), rng) * np.float32(np.sqrt(power))
    clip[start:start + len(word)] += word
    return clip


def coloured_noise(length: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """(length,) float32 of power 1, whose power falls with frequency to the ``slope``: 0 is white, 1 pink."""
    spectrum = np.fft.rfft(rng.standard_normal(length, np.float32))
    bins = np.arange(len(spectrum), dtype=np.float32)
    spectrum *= np.maximum(bins, length * 50 // SAMPLE_RATE) ** np.float32(-slope / 2)  # flat under 50 Hz
    noise = np.fft.irfft(spectrum, length)
    return noise / np.sqrt(np.mean(noise ** 2))


def write_noise(folder: Path, words: list[np.ndarray], rng: np.random.Generator) -> None:
    """White noise, pink noise, and a babble of the training voices: of those ``words`` that are heard and fit in."""
    length = NOISE_SECONDS * SAMPLE_RATE
    babble = np.zeros(length)
    words = [word for word in words if 0 < len(word) < length]
    if not words:
        return  # of such a set nothing else is left either
    for i in rng.integers(len(words), size=8 * NOISE_SECONDS):  # about four voices at any time
        start = rng.integers(length - len(words[i]))
        babble[start:start + len(words[i])] += words[i] / np.sqrt(np.mean(words[i] ** 2))
    for kind, sound in zip(NOISES, (coloured_noise(length, 0, rng), coloured_noise(length, 1, rng), babble),
                           strict=True):
        write_sound(folder / f"{kind}.wav", to_int16(sound * (NOISE_PEAK / np.abs(sound).max())))
