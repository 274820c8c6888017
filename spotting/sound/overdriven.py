"""Whether a sound was recorded too loud, so that its peaks are cut off."""

import numpy as np

from data.audio.decoding import FLAT

_LEAST = 4_096  # between the lowest and the highest sample: below, equal ones are the rounding's
_FULL = 32_000  # full scale, where resampling and lossy coding swing about the cut


class Peaks:
    """How much of a sound lies at its highest and lowest values, of which it hears one part after the other.

    As `data.audio.decoding.is_overdriven`, but of a sound at 16 kHz that is not kept. Of 620 recordings two are taken
    for overdriven; 20 dB too loud, all but one are.
    """

    def __init__(self):
        self._rest = np.zeros(0, np.int16)
        self._samples, self._least, self._most = np.zeros((3, 1 << 16), np.int64)  # of each value, from -32,768 on

    def hear(self, samples: np.ndarray) -> None:
        """The next (n,) int16 at 16 kHz."""
        self._samples += _counts(samples)
        samples = np.concatenate([self._rest, samples])
        three = samples[:-2], samples[1:-1], samples[2:]
        self._least += _counts(np.minimum.reduce(three))
        self._most += _counts(np.maximum.reduce(three))
        self._rest = samples[-2:]

    @property
    def cut_off(self) -> bool:
        """Whether much of what is loud lies, three samples or more in a row, at the highest or the lowest value."""
        low, high = np.flatnonzero(self._samples)[[0, -1]] - 32_768 if self._samples.any() else (0, 0)
        if high - low < _LEAST:
            return False
        top = max(high, -low)
        slack = (high - low) * (0.05 if top >= _FULL else 2.0**-12)
        flat = self._least[32_768 + int(np.ceil(high - slack)):].sum() + self._most[
            :32_769 + int(np.floor(low + slack))].sum()
        quiet = int(0.1 * top)
        return bool(flat > FLAT * (self._samples.sum() - self._samples[32_768 - quiet:32_769 + quiet].sum()))


def _counts(samples: np.ndarray) -> np.ndarray:
    return np.bincount(samples.astype(np.int64) + 32_768, minlength=1 << 16)
