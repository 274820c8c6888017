"""A sound's way to hits: windows, embeddings, scores, peaks, hits, one batch after the other.

A window is as similar to a word as `models.enrolment.enrol.alike` says, less its level where there is a cohort
(`models.enrolment.kept_cohort`). Of a word of K windows the mean of K in order counts, each between half and one and a
half of the enrolled spacing after the one before: the best such sequence that ends at a window. A score is the mean of
that over all windows within 0.1 s, and is given for the last of these.

A peak is a window that scores higher than all that overlap it (of several equal ones the first). A hit is a peak that
reaches the threshold. So one pass gives the false alarms at every threshold. Of different words' hits in one place the
best is told: one saying is one hit.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

from data.audio.decoding import SAMPLE_RATE
from models.enrolment.enrol import alike
from models.enrolment.kept_cohort import Cohort
from spotting.encoders.load import Embedder
from spotting.sound.blocks import Sound, before, has_sound, windows
from spotting.sound.heard import Heard
from spotting.words.words_file import Word

ELASTIC = 0.5  # of the spacing of a long word's windows: how much shorter or longer it may be
BESIDE = 0.1  # seconds either way that a score is the mean over, as a word is like one for longer than other speech
NEARLY = 0.03  # below a peak's score, what still counts as nearly as high
NOTHING = np.float32(-np.inf)  # the score of a window without sound
SHARED = 0.5  # of the shorter of two hits: where more of it lies in the other, both are of one saying
_pools = cache(ThreadpoolController)  # the libraries' pools of threads, searched for once


@dataclass(frozen=True)
class Hit:
    """Where a word lies, in seconds, by where it lay in the enrolled clips."""

    word: str
    start: float
    end: float
    score: float
    above: float = 0.0  # the threshold

    def within(self, seconds: float) -> "Hit":
        """The hit moved, and cut if need be, to lie in a recording of so many seconds."""
        start = max(0.0, min(self.start, seconds - (self.end - self.start)))
        return replace(self, start=start, end=min(seconds, start + self.end - self.start))


@dataclass(frozen=True)
class Peak:
    """A window that scores higher than those which overlap it."""

    word: int
    first: int  # window of the best sequence
    last: int  # the same for a word of one window
    score: float
    shift: float = 0.0  # windows to the middle of those around it that score nearly as high: where a short word is


class Scorer:
    """Scores of windows that come in order, a batch at a time, for each of W words; ``hop`` is in samples."""

    def __init__(self, words: Sequence[Word], hop: int, cohort: Cohort | None = None):
        self.cohort, self._beside = cohort, beside(hop)
        self._sequences = [_Sequence(word.models(), word.spacing * SAMPLE_RATE / hop) for word in words]
        self._last = np.full((2 * self._beside, len(words)), NOTHING)  # scores of windows before, each by itself

    def __call__(self, embeddings: np.ndarray, sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean score of the best sequences that end at each window and in the 0.2 s before it, and the number of
        windows that its own began before it: (B, D) and (B,) bool, whether there is sound in a window, to (B, W)
        float32 and (B, W) int64."""
        level = self.cohort.level(embeddings)[:, None] if self.cohort else np.float32(0)
        found = [sequence.push(embeddings, sound, level) for sequence in self._sequences]
        alone = np.concatenate([self._last, np.stack([score for score, _ in found], 1)])
        self._last = alone[len(embeddings):]
        count = 2 * self._beside + 1
        return sum(alone[i:i + len(embeddings)] for i in range(count)) / count, np.stack([back for _, back in found], 1)


class _Sequence:
    """One word's scores, by its models (2, K, 1 + N, D) and the spacing of its windows in hops."""

    def __init__(self, models: np.ndarray, spacing: float):
        self.models, count = models, models.shape[1]
        self.least = max(1, round((1 - ELASTIC) * spacing))
        self.most = max(self.least, round((1 + ELASTIC) * spacing))
        # Of the last ``most`` windows: the best sum of a sequence of the first k + 1 windows that ends there, and how
        # many windows before it began.
        self.sums = np.full((count, self.most), -np.inf, np.float32)
        self.backs = np.zeros((count, self.most), np.int64)

    def push(self, embeddings: np.ndarray, sound: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        similar = np.where(sound[:, None], alike(embeddings, self.models) - level, NOTHING)  # (B, K)
        batch, count = similar.shape
        if count == 1:
            return similar[:, 0], np.zeros(batch, np.int64)
        sums = np.concatenate([self.sums, np.empty((count, batch), np.float32)], 1)
        backs = np.concatenate([self.backs, np.zeros((count, batch), np.int64)], 1)
        sums[0, self.most:], backs[0, self.most:] = similar[:, 0], 0
        gaps = np.arange(self.least, self.most + 1)
        source = np.arange(self.most, self.most + batch)[:, None] - gaps  # (B, gaps)
        for k in range(1, count):
            best = sums[k - 1][source].argmax(1)  # of equal ones the shortest gap
            chosen = source[np.arange(batch), best]
            sums[k, self.most:] = sums[k - 1][chosen] + similar[:, k]
            backs[k, self.most:] = backs[k - 1][chosen] + gaps[best]
        self.sums, self.backs = sums[:, batch:].copy(), backs[:, batch:].copy()
        return sums[-1, self.most:] / count, backs[-1, self.most:]


def beside(hop: int) -> int:
    """How many windows either way a score is the mean over."""
    return int(BESIDE * SAMPLE_RATE) // hop


def reach(word: Word, hop: int, clip_samples: int) -> int:
    """How many windows before and after one of a word overlap it: those that begin less than its length away."""
    return -(-round(clip_samples + (word.windows - 1) * word.spacing * SAMPLE_RATE) // hop) - 1


class PeakPicker:
    """Peaks of the scores of windows that come in order, from the one numbered ``first`` on.

    ``reaches`` has for each of W words how many windows either way overlap one.
    """

    def __init__(self, reaches: Sequence[int], first: int = 0):
        self.reaches, self.count = list(reaches), first
        most = max(self.reaches)
        # The last 2 ``most`` windows: peaks among the newer half are not decided yet.
        self.scores = np.full((2 * most, len(self.reaches)), NOTHING)
        self.backs = np.zeros((2 * most, len(self.reaches)), np.int64)

    def push(self, scores: np.ndarray, backs: np.ndarray) -> list[Peak]:
        """The peaks that (B, W) more scores decide, in the order of their windows."""
        kept = len(self.scores)
        scores, backs = np.concatenate([self.scores, scores]), np.concatenate([self.backs, backs])
        found, most = [], kept // 2
        for word, near in enumerate(self.reaches):
            # Row i is decided once rows up to i + most are there: the same for all words, so that order is kept.
            middle = slice(most, len(scores) - most)
            column = scores[:, word]
            if near:
                earlier = np.lib.stride_tricks.sliding_window_view(column, near)  # row j: column[j] to column[j+near-1]
                rows = np.arange(middle.start, middle.stop)
                top = (column[middle] > earlier[rows - near].max(1)) & (column[middle] >= earlier[rows + 1].max(1))
            else:
                top = np.ones(max(0, middle.stop - middle.start), bool)
            for row in np.flatnonzero(top & (column[middle] > NOTHING)) + most:
                last = self.count - kept + int(row)
                found.append(Peak(word, last - int(backs[row, word]), last, float(column[row]),
                                  shift_of(column[row - near // 2:row + near // 2 + 1])))
        self.count += len(scores) - kept
        if kept:
            self.scores, self.backs = scores[-kept:], backs[-kept:]
        return sorted(found, key=lambda peak: (peak.last, peak.word))

    @property
    def decided(self) -> int:
        """All peaks at windows before this one have been given."""
        return self.count - len(self.scores) // 2

    def finish(self) -> list[Peak]:
        """The peaks that are decided by there being no more."""
        most, words = len(self.scores) // 2, len(self.reaches)
        return self.push(np.full((most, words), NOTHING), np.zeros((most, words), np.int64))


def shift_of(scores: np.ndarray) -> float:
    """How far from the middle of (2 n + 1,) scores, the highest, that of the unbroken run of nearly as high ones is."""
    centre = len(scores) // 2
    low = np.flatnonzero(scores < scores[centre] - NEARLY) - centre
    after, before = low[low > 0].min(initial=centre + 1) - 1, low[low < 0].max(initial=-centre - 1) + 1
    return float(after + before) / 2


def hit_of(peak: Peak, word: Word, hop: int) -> Hit:
    """Where the word of a peak lies; at a recording's edge it may reach beyond it."""
    first, last = ((window + peak.shift - beside(hop)) * hop / SAMPLE_RATE for window in (peak.first, peak.last))
    reference = (word.windows - 1) * word.spacing  # where its last window begins in the enrolled clips
    return Hit(word.name, first + word.start, last + word.end - reference, peak.score, peak.score - word.threshold)


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
                       (reach(word, hop, clip_samples) // 2 + beside(hop)) * hop / SAMPLE_RATE for word in words)

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
    for first, clips in windows(counted(), embedder.facts.clip_samples, hop, batch or embedder.batch,
                                beside(hop)):
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
