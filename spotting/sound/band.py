"""Whether a sound has anything above 4 kHz: what came by telephone has not, and hardly matches words that have."""

from collections.abc import Iterable, Sequence

import numpy as np

from data.audio.decoding import SAMPLE_RATE

_FRAME = 512  # samples
_BELOW, _ABOVE = (3_000, 3_400), (4_500, 7_000)  # Hz
# Measured on 300 wake words, 150 recordings of LibriSpeech, 300 of Speech Commands, 300 commands by telephone apps and
# 6 of noise: of none of them the level falls by more than 36 dB from the lower band to the upper. Resampled to 8 kHz
# and back it falls by 19 to 85 dB, in the middle by 60, and what is left is the rounding to 16 bits, -10.8 dB. By these
# bounds none of the 1,056 is narrow, and 1,041 of them are as by telephone; 20 dB quieter 4 and 986.
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


def about_band(narrow: Sequence[str], total: int, words: Iterable) -> list[str]:
    """A line on recordings, by name, that are narrow, of so many, where most clips of the words to be found are not."""
    clips = [clip.narrow for word in words for clip in word.clips]
    if not narrow or 2 * sum(clips) >= len(clips):
        return []
    return [f"warning: {some_of(narrow, total)}{' has' if total == 1 else ', have'} nothing above 4 kHz, as by "
            "telephone, unlike the clips that the words were enrolled from: most sayings are missed; enrol from such "
            "recordings"]


def some_of(names: Sequence[str], total: int) -> str:
    """Recordings of so many, in words."""
    return names[0] if total == 1 else f"{len(names):,} of the {total:,} recordings, such as {names[0]}"
