"""A sound's way to hits: windows, embeddings, scores, peaks, hits, one batch after the other.

Of different words' hits in one place the best is told: one saying is one hit.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

from data.audio.decoding import SAMPLE_RATE
from spotting.encoders.load import Embedder
from spotting.hits.match import ELASTIC, Hit, Peak, PeakPicker, Scorer, hit_of, reach
from spotting.sound.blocks import Sound, before, has_sound, windows
from spotting.sound.heard import Heard
from spotting.words.words_file import Word

_pools = cache(ThreadpoolController)  # the libraries' pools of threads, searched for once
SHARED = 0.5  # of the shorter of two hits: where more of it lies in the other, both are of one saying


def of_one_saying(a: Hit, b: Hit) -> bool:
    """Whether hits of two words overlap by more than estimates of their ends are off."""
    shared = min(a.end, b.end) - max(a.start, b.start)
    return a.word != b.word and shared > SHARED * min(a.end - a.start, b.end - b.start)


def beaten(hit: Hit, others: Iterable[Hit]) -> bool:
    """Whether another word's hit in the same place is further above its threshold; of equal ones the first is."""
    return any((other.above, hit.word) > (hit.above, other.word) and of_one_saying(hit, other) for other in others)


class Best:
    """Passes on one spotter's hits in order, as soon as it is sure which are beaten: their ``above`` is -inf then."""

    def __init__(self, words: Sequence[Word], hop: int, clip_samples: int):
        self.hop, self.waiting, self.judged = hop, [], 0
        # How long before its last window a hit can begin, at most.
        self.lag = max((word.windows - 1) * ((1 + ELASTIC) * word.spacing + hop / SAMPLE_RATE) - word.start +
                       reach(word, hop, clip_samples) // 2 * hop / SAMPLE_RATE for word in words)

    def push(self, hits: Sequence[tuple[int, Hit]], decided: float) -> list[tuple[int, Hit]]:
        """The (word, hit) pairs that are sure now, given more in the order of their last windows, and the number of the
        window from which on hits may still come."""
        self.waiting += hits
        sure, kept = decided * self.hop / SAMPLE_RATE - self.lag, []
        while self.judged < len(self.waiting) and self.waiting[self.judged][1].end <= sure:
            word, hit = self.waiting[self.judged]
            lost = beaten(hit, (other for _, other in self.waiting))
            kept.append((word, replace(hit, above=-np.inf) if lost else hit))
            self.judged += 1
        needed = min([sure, *(hit.start for _, hit in self.waiting[self.judged:])])
        still = [entry for entry in self.waiting[:self.judged] if entry[1].end > needed]
        self.waiting, self.judged = still + self.waiting[self.judged:], len(still)
        return kept


def paused(hits: Iterable[Hit], seconds: float) -> Iterator[Hit]:
    """Hits without those that begin less than so many seconds after the end of the one told before; 0 keeps all."""
    until = -float("inf")
    for hit in hits:
        if not seconds or hit.start >= until:
            yield hit
            until = hit.end + seconds


def scored(blocks: Iterable[np.ndarray], embedder: Embedder, words: Sequence[Word], hop: int, heard: Heard,
           batch: int | None = None) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The windows of a sound's blocks, by batch: the number of the first one, and what `Scorer` makes of them."""
    def counted() -> Iterator[np.ndarray]:
        for block in blocks:
            heard.hear(block)
            yield block

    scorer, embed = Scorer(words, hop, embedder.cohort), embedder.of_sound(hop)
    for first, clips in windows(counted(), embedder.facts.clip_samples, hop, batch or embedder.batch):
        clips = np.ascontiguousarray(clips)
        loud = has_sound(clips)
        heard.windows, heard.loud = heard.windows + len(loud), heard.loud + int(loud.sum())
        # NumPy's threads would wait in loops for their next small product, and hold up the encoder's.
        with _pools().limit(limits=1, user_api="blas"):
            scores = scorer(embed(clips), loud)
        yield first, *scores


def search(sound: Sound, embedder: Embedder, words: Sequence[Word], hop: int, heard: Heard | None = None,
           batch: int | None = None, together: int = 1) -> Iterator[tuple[int, Hit]]:
    """The hits of all words in a sound, whatever their scores, each with its word's number, as soon as they are sure.

    Args:
        hop: samples between windows.
        heard: is kept up to date.
        batch: windows embedded at once; None takes the encoder's.
        together: so many words in a row are one spotter's; of hits that another of them beats ``above`` is -inf.
    """
    heard, facts = Heard() if heard is None else heard, embedder.facts
    apart = facts.heard_samples
    picker = PeakPicker([reach(word, hop, apart) for word in words], -before(facts.clip_samples, hop))
    spotters = [Best(words[i:i + together], hop, apart) for i in range(0, len(words), together)]

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
