"""From windows' embeddings to scores, and from scores to hits.

A word of one window scores by the similarity of that window, less the window's level where there is a cohort
(`models.enrolment.kept_cohort`). A word of K windows scores by the mean similarity of K windows in order, each between
half and one and a half of the enrolled spacing after the one before: the best such sequence that ends at a window.

A peak is a window that scores higher than all that overlap it (of several equal ones the first). A hit is a peak that
reaches the threshold. So one pass gives the false alarms at every threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from data.audio.decoding import SAMPLE_RATE
from models.enrolment.kept_cohort import Cohort
from spotting.words.words_file import Word

ELASTIC = 0.5  # of the spacing of a long word's windows: how much shorter or longer it may be
NEARLY = 0.05  # below a peak's score, what still counts as nearly as high
NOTHING = np.float32(-np.inf)  # the score of a window without sound


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
        self.cohort = cohort
        self._sequences = [_Sequence(word.template(), word.spacing * SAMPLE_RATE / hop) for word in words]

    def __call__(self, embeddings: np.ndarray, sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the sequences that end at each window, and the number of windows that they began before it:
        (B, D) and (B,) bool, whether there is sound in a window, to (B, W) float32 and (B, W) int64."""
        level = self.cohort.level(embeddings)[:, None] if self.cohort else np.float32(0)
        found = [sequence.push(embeddings, sound, level) for sequence in self._sequences]
        return np.stack([score for score, _ in found], 1), np.stack([back for _, back in found], 1)


class _Sequence:
    """One word's scores, by its template (K, D) and the spacing of its windows in hops."""

    def __init__(self, template: np.ndarray, spacing: float):
        self.template, count = template.astype(np.float32), len(template)
        self.least = max(1, round((1 - ELASTIC) * spacing))
        self.most = max(self.least, round((1 + ELASTIC) * spacing))
        # Of the last ``most`` windows: the best sum of a sequence of the first k + 1 windows that ends there, and how
        # many windows before it began.
        self.sums = np.full((count, self.most), -np.inf, np.float32)
        self.backs = np.zeros((count, self.most), np.int64)

    def push(self, embeddings: np.ndarray, sound: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        similar = np.where(sound[:, None], embeddings @ self.template.T - level, NOTHING)  # (B, K)
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
                before = np.lib.stride_tricks.sliding_window_view(column, near)  # row j: column[j] to column[j+near-1]
                rows = np.arange(middle.start, middle.stop)
                top = (column[middle] > before[rows - near].max(1)) & (column[middle] >= before[rows + 1].max(1))
            else:
                top = np.ones(max(0, middle.stop - middle.start), bool)
            for row in np.flatnonzero(top & (column[middle] > NOTHING)) + most:
                last = self.count - kept + int(row)
                found.append(Peak(word, last - int(backs[row, word]), last, float(column[row]),
                                  _middle(column[row - near // 2:row + near // 2 + 1])))
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


def _middle(scores: np.ndarray) -> float:
    """How far from the middle of (2 n + 1,) scores, the highest, that of the unbroken run of nearly as high ones is."""
    centre = len(scores) // 2
    low = np.flatnonzero(scores < scores[centre] - NEARLY) - centre
    after, before = low[low > 0].min(initial=centre + 1) - 1, low[low < 0].max(initial=-centre - 1) + 1
    return float(after + before) / 2


def hit_of(peak: Peak, word: Word, hop: int) -> Hit:
    """Where the word of a peak lies; at a recording's edge it may reach beyond it."""
    first, last = ((window + peak.shift) * hop / SAMPLE_RATE for window in (peak.first, peak.last))
    reference = (word.windows - 1) * word.spacing  # where its last window begins in the enrolled clips
    return Hit(word.name, first + word.start, last + word.end - reference, peak.score, peak.score - word.threshold)


class Early:
    """Peaks of one word given early, one for each that `PeakPicker` finds at or above a threshold.

    A window that scores higher than those before it that overlap it, and than the ``patience`` windows after it, is
    given as soon as its shift is known. A later one that overlaps it and scores higher counts as the same.
    """

    def __init__(self, word: int, reach: int, patience: int, threshold: float):
        self.word, self.reach, self.patience, self.threshold = word, reach, min(patience, reach), threshold
        self.window = -1
        self.recent = [NOTHING] * (2 * reach + 1)  # scores up to that of ``window``
        self.best: tuple[int, int] | None = None  # window and windows back of what may be given
        self.top: int | None = None  # the window of what was given

    def push(self, window: int, score: float, back: int) -> Peak | None:
        """The peak that the next window decides, if any."""
        score = np.float32(score)
        self.window, self.recent = window, [*self.recent[1:], score]
        before = self.recent[len(self.recent) - 1 - self.reach:-1]
        if score >= self.threshold and score > max(before, default=-np.inf):
            if self.top is not None and window - self.top <= self.reach:
                self.top = window  # the hit that was given
            else:
                self.best = window, back
        if self.best is None or (since := window - self.best[0]) < self.patience:
            return None
        after = self.recent[len(self.recent) - since:]
        broken = min(after, default=np.inf) < self.recent[-1 - since] - NEARLY
        return self.finish() if broken or since >= self.reach // 2 else None

    @property
    def waiting(self) -> Peak | None:
        """The peak that is given unless a higher one comes."""
        if self.best is None:
            return None
        (last, back), half = self.best, self.reach // 2
        at = len(self.recent) - 1 - (self.window - last)
        scores = np.array([*self.recent[at - half:at + half + 1]] + [NOTHING] * half, np.float32)[:2 * half + 1]
        return Peak(self.word, last - back, last, float(scores[half]), _middle(scores))

    def finish(self) -> Peak | None:
        """What waits, if anything does, is given now."""
        peak = self.waiting
        if peak:
            self.best, self.top = None, peak.last
        return peak
