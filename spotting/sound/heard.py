"""How much of a sound was heard, and whether words can be found in it as it was recorded: its band and its peaks."""

from collections.abc import Iterable

import numpy as np

from data.audio.decoding import FLAT, SAMPLE_RATE

_FRAME = 512  # samples
_WINDOW = np.hanning(_FRAME).astype(np.float32)
_BELOW, _ABOVE = (3_000, 3_400), (4_500, 7_000)  # Hz
# Of 1,056 recordings none is narrow by these bounds, and of the same resampled to 8 kHz and back 1,041 are.
_FALLS, _ROUNDING = 25, -5  # dB, both
_FALLS_FAR = 42
_LEAST = 4_096  # between the lowest and the highest sample: below, equal ones are the rounding's
_FULL = 32_000  # full scale, where resampling and lossy coding swing about the cut


class Heard:
    """A sound as far as it was heard, one part after the other: ``windows`` of it, in ``loud`` of which something can
    have been said."""

    def __init__(self):
        self.seconds, self.windows, self.loud = 0.0, 0, 0
        self._power, self._frames, self._rest = np.zeros(_FRAME // 2 + 1), 0, np.zeros(0, np.int16)
        # How many have each value, from -32,768 on: of samples, and of the least and the most of three in a row.
        self._samples, self._least, self._most = np.zeros((3, 1 << 16), np.int64)
        self._last = np.zeros(0, np.int16)

    def hear(self, block: np.ndarray) -> None:
        """The next (n,) int16 at 16 kHz."""
        self.seconds += len(block) / SAMPLE_RATE
        samples = np.concatenate([self._rest, block])
        whole, self._rest = np.split(samples, [len(samples) // _FRAME * _FRAME])
        frames = whole.reshape(-1, _FRAME) * _WINDOW
        self._power += np.square(np.abs(np.fft.rfft(frames))).sum(0)
        self._frames += len(frames)
        samples = np.concatenate([self._last, block])
        three = samples[:-2], samples[1:-1], samples[2:]
        self._samples += _counts(block)
        self._least += _counts(np.minimum.reduce(three))
        self._most += _counts(np.maximum.reduce(three))
        self._last = samples[-2:]

    @property
    def loud_seconds(self) -> float:
        """Seconds in which there can be a false alarm: the share of loud windows."""
        return self.seconds * self.loud / max(1, self.windows)

    @property
    def narrow(self) -> bool:
        """Whether nothing is above 4 kHz; False of what is shorter than a frame."""
        frequency = np.fft.rfftfreq(_FRAME, 1 / SAMPLE_RATE)
        scale = max(1, self._frames) * np.square(np.hanning(_FRAME)).sum()  # white noise has its variance everywhere
        below, above = (10 * np.log10(max(1e-9, self._power[(low <= frequency) & (frequency <= high)].mean() / scale))
                        for low, high in (_BELOW, _ABOVE))
        return bool(below - above > (_FALLS if above < _ROUNDING else _FALLS_FAR))

    @property
    def cut_off(self) -> bool:
        """Whether much of what is loud lies, three samples or more in a row, at the highest or the lowest value.

        As `data.audio.decoding.is_overdriven`, but of a sound that is not kept. Of 620 recordings two are taken for
        overdriven; 20 dB too loud, all but one are.
        """
        low, high = np.flatnonzero(self._samples)[[0, -1]] - 32_768 if self._samples.any() else (0, 0)
        if high - low < _LEAST:
            return False
        top = max(high, -low)
        slack = (high - low) * (0.05 if top >= _FULL else 2.0**-12)
        flat = self._least[32_768 + int(np.ceil(high - slack)):].sum() + self._most[
            :32_769 + int(np.floor(low + slack))].sum()
        quiet = int(0.1 * top)
        return bool(flat > FLAT * (self._samples.sum() - self._samples[32_768 - quiet:32_769 + quiet].sum()))


def is_narrow(samples: np.ndarray) -> bool:
    """Whether (T,) int16 at 16 kHz have nothing above 4 kHz."""
    heard = Heard()
    heard.hear(samples)
    return heard.narrow


def _counts(samples: np.ndarray) -> np.ndarray:
    return np.bincount(samples.astype(np.int64) + 32_768, minlength=1 << 16)


class Remarks:
    """Recordings in which words are missed because of how they were recorded, by name."""

    def __init__(self):
        self.total, self.silent, self.narrow, self.overdriven = 0, [], [], []

    def add(self, name: str, heard: Heard) -> None:
        self.total += 1
        for names, applies in ((self.silent, not heard.loud), (self.narrow, heard.narrow),
                               (self.overdriven, heard.cut_off)):
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
