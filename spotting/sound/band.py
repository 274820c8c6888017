"""Whether a sound has anything above 4 kHz: what came by telephone has not, and hardly matches words that have."""

import numpy as np

from data.audio.decoding import SAMPLE_RATE

_FRAME = 512  # samples
_BELOW, _ABOVE = (3_000, 3_400), (4_500, 7_000)  # Hz
# Of 1,056 recordings none is narrow by these bounds, and of the same resampled to 8 kHz and back 1,041 are.
_FALLS, _ROUNDING = 25, -5  # dB, both
_FALLS_FAR = 42


class Band:
    """What a sound has below and above 4 kHz, of which it hears one part after the other."""

    def __init__(self):
        self._power, self._rest = np.zeros(_FRAME // 2 + 1), np.zeros(0, np.int16)
        self._frames = 0

    def hear(self, samples: np.ndarray) -> None:
        """The next (n,) int16 at 16 kHz."""
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // _FRAME * _FRAME
        self._rest = samples[whole:]
        frames = samples[:whole].reshape(-1, _FRAME) * np.hanning(_FRAME).astype(np.float32)
        self._power += np.square(np.abs(np.fft.rfft(frames))).sum(0)
        self._frames += len(frames)

    @property
    def narrow(self) -> bool:
        """Whether nothing is above 4 kHz; False of what is shorter than a frame."""
        frequency = np.fft.rfftfreq(_FRAME, 1 / SAMPLE_RATE)
        scale = max(1, self._frames) * np.square(np.hanning(_FRAME)).sum()  # white noise has its variance everywhere
        below, above = (10 * np.log10(max(1e-9, self._power[(low <= frequency) & (frequency <= high)].mean() / scale))
                        for low, high in (_BELOW, _ABOVE))
        return bool(below - above > (_FALLS if above < _ROUNDING else _FALLS_FAR))


def is_narrow(samples: np.ndarray) -> bool:
    """Whether (T,) int16 at 16 kHz have nothing above 4 kHz."""
    band = Band()
    band.hear(samples)
    return band.narrow
