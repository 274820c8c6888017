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
    """How much of a sound has been heard, in seconds, and whether any of it was more than zeros."""

    seconds: float = 0.0
    any_sound: bool = False


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
            yield embedder(clips), has_sound(clips)

    return peaks(embedded(), words, hop, length, embedder.cohort)
