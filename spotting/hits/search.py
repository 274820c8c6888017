"""A sound's way to hits: windows, embeddings, scores, peaks, hits, one batch after the other."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from spotting.encoders.load import Embedder
from spotting.hits.match import Hit, Peak, PeakPicker, Scorer, hit_of, reach
from spotting.hits.rivals import Best
from spotting.sound.blocks import Sound, before, has_sound, windows
from spotting.sound.heard import Heard
from spotting.words.words_file import Word


def scored(blocks: Iterable[np.ndarray], embedder: Embedder, words: Sequence[Word], hop: int, heard: Heard,
           batch: int | None = None) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The windows of a sound's blocks with what `Scorer` makes of them: the number of the first one, and (B, W) scores
    and windows back."""

    def counted() -> Iterator[np.ndarray]:
        for block in blocks:
            heard.hear(block)
            yield block

    scorer = Scorer(words, hop, embedder.cohort)
    for first, clips in windows(counted(), embedder.facts.clip_samples, hop, batch or embedder.batch):
        clips = np.ascontiguousarray(clips)
        loud = has_sound(clips)
        heard.windows, heard.loud = heard.windows + len(loud), heard.loud + int(loud.sum())
        yield first, *scorer(embedder(clips), loud)


def search(sound: Sound, embedder: Embedder, words: Sequence[Word], hop: int, heard: Heard | None = None,
           batch: int | None = None, together: int = 1) -> Iterator[tuple[int, Hit]]:
    """The hits of all words in a sound, whatever their scores, each with its word's number, as soon as they are sure.

    Args:
        hop: samples between windows.
        heard: is kept up to date.
        batch: windows embedded at once; None takes the encoder's.
        together: so many words in a row are one spotter's; of hits that another of them beats ``above`` is -inf.
    """
    heard, length = Heard() if heard is None else heard, embedder.facts.clip_samples
    picker = PeakPicker([reach(word, hop, length) for word in words], -before(length, hop))
    spotters = [Best(words[i:i + together], hop, length) for i in range(0, len(words), together)]

    def sure(peaks: list[Peak], decided: float) -> Iterator[tuple[int, Hit]]:
        found = [(peak.word, hit_of(peak, words[peak.word], hop)) for peak in peaks]
        if together > 1:
            found = [pair for i, spotter in enumerate(spotters)
                     for pair in spotter.push([pair for pair in found if pair[0] // together == i], decided)]
        for word, hit in found:
            yield word, hit.within(heard.seconds)

    for _, *scores in scored(sound.blocks, embedder, words, hop, heard, batch):
        yield from sure(picker.push(*scores), picker.decided)
    yield from sure(picker.finish(), np.inf)
