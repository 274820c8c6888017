"""A sound's way to peaks: windows, embeddings, scores, peaks, one batch after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from data.decoding import SAMPLE_RATE
from spotting.encoders.load import Embedder
from spotting.hits.match import Peak, peaks
from spotting.sound.blocks import Sound, has_sound, windows
from spotting.words.words_file import Word


@dataclass
class Heard:
    """How much of a sound has been heard.

    Attributes:
        seconds: of it.
        any_sound: whether any of it was more than zeros.
        windows, loud: how many windows it has, and of those how many in which something can have been said.
    """

    seconds: float = 0.0
    any_sound: bool = False
    windows: int = 0
    loud: int = 0

    @property
    def telling(self) -> float:
        """Seconds that can tell something about false alarms: the share of those windows."""
        return self.seconds * self.loud / max(1, self.windows)


def search(sound: Sound, embedder: Embedder, words: Sequence[Word], hop: int, heard: Heard | None = None,
           batch: int | None = None) -> Iterator[Peak]:
    """All peaks of all words in a sound, whatever their scores, as soon as they are decided.

    Args:
        hop: samples between windows.
        heard: is kept up to date.
        batch: windows embedded at once; None takes the encoder's.
    """
    heard = Heard() if heard is None else heard
    length = embedder.facts.clip_samples

    def counted() -> Iterator[np.ndarray]:
        for block in sound.blocks:
            heard.seconds += len(block) / SAMPLE_RATE
            heard.any_sound = heard.any_sound or bool(block.any())
            yield block

    def embedded() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for _, clips in windows(counted(), length, hop, batch or embedder.batch):
            clips = np.ascontiguousarray(clips)
            loud = has_sound(clips)
            heard.windows, heard.loud = heard.windows + len(loud), heard.loud + int(loud.sum())
            yield embedder(clips), loud

    return peaks(embedded(), words, hop, length, embedder.cohort)
