"""Of different words' hits in one place the best: one saying is one hit."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from data.audio.decoding import SAMPLE_RATE
from spotting.hits.match import ELASTIC, Hit, reach
from spotting.words.words_file import Word

SHARED = 0.5  # of the shorter of two hits: where more of it lies in the other, both are of one saying


def of_one_saying(a: Hit, b: Hit) -> bool:
    """Whether hits of two words overlap by more than estimates of their ends are off."""
    shared = min(a.end, b.end) - max(a.start, b.start)
    return a.word != b.word and shared > SHARED * min(a.end - a.start, b.end - b.start)


def beaten(hit: Hit, others: Iterable[Hit]) -> bool:
    """Whether another word's hit in the same place is further above its threshold; of equal ones the first is."""
    return any((other.above, hit.word) > (hit.above, other.word) and of_one_saying(hit, other) for other in others)


class Best:
    """Passes on hits in the order they come in, as soon as it is sure which are beaten: their ``above`` is -inf then.

    Args:
        words: all of one spotter.
        hop: samples between windows.
    """

    def __init__(self, words: Sequence[Word], hop: int, clip_samples: int):
        self.hop, self.waiting, self.judged = hop, [], 0
        # How long before its last window a hit can begin, at most.
        self.lag = max((word.windows - 1) * ((1 + ELASTIC) * word.spacing + hop / SAMPLE_RATE) - word.start +
                       reach(word, hop, clip_samples) // 2 * hop / SAMPLE_RATE for word in words)

    def push(self, hits: Sequence[tuple[int, Hit]], decided: float) -> list[tuple[int, Hit]]:
        """The (word, hit) pairs that are sure now.

        Args:
            hits: with any score, in the order of their last windows.
            decided: the number of the window from which on hits may still come.
        """
        self.waiting += hits
        sure, kept = decided * self.hop / SAMPLE_RATE - self.lag, []
        while self.judged < len(self.waiting) and self.waiting[self.judged][1].end <= sure:
            word, hit = self.waiting[self.judged]
            lost = beaten(hit, (other for _, other in self.waiting))
            kept.append((word, replace(hit, above=-np.inf) if lost else hit))
            self.judged += 1
        needed = min([sure, *(hit.start for _, hit in self.waiting[self.judged:])])
        before = [entry for entry in self.waiting[:self.judged] if entry[1].end > needed]
        self.waiting, self.judged = before + self.waiting[self.judged:], len(before)
        return kept


def paused(hits: Iterable[Hit], seconds: float) -> Iterator[Hit]:
    """Hits without those that begin less than so many seconds after the end of the one told before; 0 keeps all."""
    until = -float("inf")
    for hit in hits:
        if not seconds or hit.start >= until:
            yield hit
            until = hit.end + seconds
