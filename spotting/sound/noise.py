"""Recordings with background noise added, at a ratio of the speech's level to the noise's."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from data.audio.decoding import SAMPLE_RATE, decode, to_int16
from data.base.errors import UserError
from spotting.sound.blocks import Sound, files_of

_FRAME = SAMPLE_RATE // 100
_ACTIVE = 10 ** -2.5  # of a loud frame's power, from which one counts as speech: 25 dB below


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
