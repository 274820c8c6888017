"""How much of a sound was heard, and whether words can be found in it as it was recorded: its band and its peaks."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from data.audio.decoding import FLAT, SAMPLE_RATE

_FRAME = 512  # samples
_BELOW, _ABOVE = (3_000, 3_400), (4_500, 7_000)  # Hz
# Of 1,056 recordings none is narrow by these bounds, and of the same resampled to 8 kHz and back 1,041 are.
_FALLS, _ROUNDING = 25, -5  # dB, both
_FALLS_FAR = 42
_LEAST = 4_096  # between the lowest and the highest sample: below, equal ones are the rounding's
_FULL = 32_000  # full scale, where resampling and lossy coding swing about the cut


class Band:
    """What a sound has below and above 4 kHz, of which it hears one part after the other."""

    def __init__(self):
        self._power, self._rest, self._frames = np.zeros(_FRAME // 2 + 1), np.zeros(0, np.int16), 0

    def hear(self, samples: np.ndarray) -> None:
        """The next (n,) int16 at 16 kHz."""
        samples = np.concatenate([self._rest, samples])
        whole, self._rest = np.split(samples, [len(samples) // _FRAME * _FRAME])
        frames = whole.reshape(-1, _FRAME) * np.hanning(_FRAME).astype(np.float32)
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


@dataclass
class Heard:
    """A sound as far as it was heard: ``windows`` of it, in ``loud`` of which something can have been said."""

    seconds: float = 0.0
    windows: int = 0
    loud: int = 0
    band: Band = field(default_factory=Band)
    peaks: Peaks = field(default_factory=Peaks)

    def hear(self, block: np.ndarray) -> None:
        """The next (n,) int16 at 16 kHz."""
        self.seconds += len(block) / SAMPLE_RATE
        self.band.hear(block)
        self.peaks.hear(block)

    @property
    def loud_seconds(self) -> float:
        """Seconds in which there can be a false alarm: the share of loud windows."""
        return self.seconds * self.loud / max(1, self.windows)


class Remarks:
    """Recordings in which words are missed because of how they were recorded, by name."""

    def __init__(self):
        self.total, self.silent, self.narrow, self.overdriven = 0, [], [], []

    def add(self, name: str, heard: Heard) -> None:
        self.total += 1
        for names, applies in ((self.silent, not heard.loud), (self.narrow, heard.band.narrow),
                               (self.overdriven, heard.peaks.cut_off)):
            names += [name] * applies

    def lines(self, words: Iterable) -> list[str]:
        """What to tell, each kind in a line. A narrow band matters where most clips of the words are not narrow."""
        clips = [clip.narrow for word in words for clip in word.clips]
        narrow = self.narrow if 2 * sum(clips) < len(clips) else []
        kinds = ((self.silent, "nothing above -60 dB of full scale, too quiet to hear a word in"),
                 (narrow, "nothing above 4 kHz, as by telephone, unlike the enrolled clips: most sayings are missed; "
                          "enrol from such recordings"),
                 (self.overdriven, "recorded too loud, with the peaks cut off: words may be missed; record again at a "
                                   "lower level"))
        return [f"warning: {names[0]}: {what}" if self.total == 1 else
                f"warning: {len(names):,} of {self.total:,} recordings, such as {names[0]}: {what}"
                for names, what in kinds if names]
