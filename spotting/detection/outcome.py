"""What a spotter scored in recordings of its words and in recordings without them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from spotting.detection.thresholds import Background
from spotting.encoders.load import Embedder
from spotting.words.positives import Positive
from spotting.words.words_file import Words

TOGETHER = "(all words)"
# By word: the scores of its recordings; those of false alarms, descending; and in which recording each of these is.
Scores = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass
class Outcome:
    """What a spotter scored.

    Attributes:
        tested: words of a file, or of each draw; (W,) words in all, with their names in the same order in each.
        positives: (N,) recordings of words.
        best, at: (N, W) the highest score of each word in each, -inf where it has none, and where, in seconds.
        notes: why errors may look rarer than they are.
    """

    tested: Sequence[Words]
    positives: Sequence[Positive]
    best: np.ndarray
    at: np.ndarray
    background: Background
    embedder: Embedder
    notes: list[str] = field(default_factory=list)

    @property
    def labels(self) -> np.ndarray:
        """(N,) str."""
        return np.array([label for label, *_ in self.positives])

    def scores(self) -> list[Scores]:
        """Of each draw, by word; of several words also together, each score less the word's own threshold."""
        found, count, labels = [], len(self.tested[0].words), self.labels
        for d, words in enumerate(self.tested):
            of = {word.name: (self.best[labels == word.name, d * count + i], self.background.scores[d * count + i],
                              self.background.file[d * count + i]) for i, word in enumerate(words.words)}
            if count > 1:
                own = [word.threshold for word in words.words]
                recordings, alarms = (np.concatenate([one[column] - least for one, least in zip(
                    of.values(), own, strict=True)]) for column in (0, 1))
                order = np.argsort(-alarms, kind="stable")
                files = np.concatenate([file for *_, file in of.values()])
                of[TOGETHER] = recordings, alarms[order], files[order]
            found.append(of)
        return found

    def thresholds(self) -> list[dict[str, float]]:
        """Of each draw, by word, as enrolling set them; 0 of all together."""
        return [{word.name: word.threshold for word in words.words} | {TOGETHER: 0.0} for words in self.tested]
