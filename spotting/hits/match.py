"""From windows' embeddings to scores, and from scores to hits; what was read how bears on neither.

A word of one window scores by the similarity of that window, less the window's level where there is a cohort
(`models.evaluation.kept_cohort`). A word of K windows, longer than the encoder's clip, scores by the mean similarity of
K windows in order, each between half and one and a half of the enrolled spacing after the one before: the best such
sequence that ends at a window, found by dynamic programming.

A hit is a window that scores higher than all that overlap it (of several equal ones the first), and at least the
threshold. The rule knows no threshold until then. So hits at a higher threshold are hits at a lower one, and counts of
false alarms at every threshold come from one pass.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from data.decoding import SAMPLE_RATE
from models.evaluation.kept_cohort import Cohort
from spotting.words.words_file import Word

ELASTIC = 0.5  # of the spacing of a long word's windows: how much shorter or longer it may be
NEARLY = 0.05  # below a peak's score, what still counts as nearly as high
NOTHING = np.float32(-np.inf)  # the score of a window without sound


@dataclass(frozen=True)
class Hit:
    """``start`` and ``end`` in seconds: where the word lies, by where it lay in the clips that were enrolled."""

    word: str
    start: float
    end: float
    score: float


@dataclass(frozen=True)
class Peak:
    """A window that scores higher than those which overlap it.

    Attributes:
        word: its index.
        first, last: the first and last window of the best sequence; equal for a word of one window.
        shift: windows from it to the middle of those around it that score nearly as high. A word shorter than a window
            lies in several wholly, and this is where it is in the middle.
    """

    word: int
    first: int
    last: int
    score: float
    shift: float = 0.0


class Scorer:
    """Scores of windows that come in order, a batch at a time, for each of W words.

    Args:
        hop: samples between windows.
        cohort: what windows' scores are held against; None takes similarities as they are.
    """

    def __init__(self, words: Sequence[Word], hop: int, cohort: Cohort | None = None):
        self.words, self.cohort = words, cohort
        self._sequences = [_Sequence(word.template(), word.spacing * SAMPLE_RATE / hop) for word in words]

    def __call__(self, embeddings: np.ndarray, sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the sequences that end at each window, and the number of windows that they began before it.

        Args:
            embeddings: (B, D).
            sound: (B,) bool, whether there is any in the window; one without matches nothing.

        Returns:
            (B, W) float32 and (B, W) int64.
        """
        level = self.cohort.level(embeddings)[:, None] if self.cohort else np.float32(0)
        found = [sequence.push(embeddings, sound, level) for sequence in self._sequences]
        return np.stack([score for score, _ in found], 1), np.stack([back for _, back in found], 1)


class _Sequence:
    """One word's scores, with what the coming windows need of those before.

    Args:
        template: (K, D).
        spacing: of its windows, in hops.
    """

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
    """Peaks of the scores of windows that come in order.

    Args:
        reaches: (W,) of each word, how many windows either way overlap one.
    """

    def __init__(self, reaches: Sequence[int]):
        self.reaches, self.count = list(reaches), 0
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


def peaks(batches: Iterable[tuple[np.ndarray, np.ndarray]], words: Sequence[Word], hop: int,
          clip_samples: int, cohort: Cohort | None = None) -> Iterator[Peak]:
    """All peaks of a recording from its windows: batches of embeddings (B, D) and whether they have sound (B,)."""
    scorer, picker = Scorer(words, hop, cohort), PeakPicker([reach(word, hop, clip_samples) for word in words])
    for embeddings, sound in batches:
        yield from picker.push(*scorer(embeddings, sound))
    yield from picker.finish()


def hit_of(peak: Peak, word: Word, hop: int) -> Hit:
    """Where the word of a peak lies."""
    first, last = ((window + peak.shift) * hop / SAMPLE_RATE for window in (peak.first, peak.last))
    reference = (word.windows - 1) * word.spacing  # where its last window begins in the enrolled clips
    return Hit(word.name, max(0.0, first + word.start), last + word.end - reference, peak.score)


class Early:
    """Peaks of one word told early, one for each that `PeakPicker` finds at or above a threshold.

    A window that scores higher than those before it that overlap it, and than the ``patience`` windows after it, is
    told. A later one that overlaps it and scores higher takes its place, untold; what overlaps that is the same again.
    """

    def __init__(self, reach: int, patience: int, threshold: float):
        self.reach, self.patience, self.threshold = reach, min(patience, reach), threshold
        self.recent: list[float] = []  # scores of the last ``reach`` windows
        self.waiting: tuple[int, int, float] | None = None  # last window, windows back, score
        self.top: tuple[int, float] | None = None  # of what was told: window and score

    def push(self, word: int, window: int, score: float, back: int) -> Peak | None:
        told = None
        if self.waiting and window - self.waiting[0] > self.patience:
            told = self.finish(word)
        higher = score > max(self.recent, default=-np.inf)
        self.recent = [*self.recent, score][-self.reach:] if self.reach else []
        if score >= self.threshold and higher:
            if self.top and window - self.top[0] <= self.reach:
                self.top = window, score  # the hit that was told
            else:
                self.waiting = window, back, score
        return told

    def finish(self, word: int) -> Peak | None:
        """What waits, if anything does, is told now."""
        if not self.waiting:
            return None
        last, back, score = self.waiting
        self.top, self.waiting = (last, score), None
        return Peak(word, last - back, last, score)
