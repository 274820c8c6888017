"""How much of a sound was heard, and whether words can be found in it as it was recorded."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from data.audio.decoding import SAMPLE_RATE
from spotting.sound.band import Band
from spotting.sound.overdriven import Peaks


@dataclass
class Heard:
    """A sound as far as it was heard.

    Attributes:
        seconds: of it.
        windows, loud: how many windows it has, and of those how many in which something can have been said.
        band: whether it has anything above 4 kHz.
        peaks: whether they are cut off.
    """

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
