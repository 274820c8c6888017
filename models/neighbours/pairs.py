"""How well a threshold tells wanted items from others: exact figures, from how many of each lie at each score.

So are told pairs of clips of one word from pairs of two, by squared Euclidean distances of embeddings of length 1.
"""

from dataclasses import dataclass

import numpy as np

BINS = 40_000  # of the counts, over 0 to 4: thresholds are found to 0.0001
_CELLS = 1 << 20  # distances computed at a time: bounds memory, to some 40 MB


def auroc(wanted: np.ndarray, others: np.ndarray) -> float:
    """The share of couples of a wanted item and another in which the wanted one comes first; a tie counts half. Both
    are (B,) counts, from the best score to the worst."""
    after = others.sum() - np.cumsum(others) + others / 2
    return float(wanted @ after / (wanted.sum() * others.sum()))


def equal_error(wanted: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Where as large a share of others is accepted as of wanted items is missed: that rate, and how many bins in.

    Between two neighbouring thresholds both errors are interpolated, as if items of equal score were drawn at random;
    the area under the same curve is `auroc`. Where the errors are equal in a range of thresholds, its middle is taken.
    """
    total = wanted.sum()
    missed = np.append(total, total - np.cumsum(wanted)) / total
    accepted = np.append(0, np.cumsum(others)) / others.sum()
    i = int(np.argmax(accepted >= missed))  # at the first, nothing is accepted and all is missed; at the last, not so
    before, after = missed[i - 1] - accepted[i - 1], accepted[i] - missed[i]
    part, equal = before / (before + after), np.flatnonzero(missed == accepted)
    return (float(accepted[i - 1] + part * (accepted[i] - accepted[i - 1])),
            float((equal[0] + equal[-1]) / 2 if len(equal) else i - 1 + part))


@dataclass
class Pairs:
    """The distances of same-word (first) and of different-word pairs (second)."""

    counts: np.ndarray  # (2, BINS) int64, pairs by distance, in bins of equal width from 0 to 4
    means: np.ndarray  # (2,) float64; NaN where there is no pair

    def figures(self) -> dict:
        """Numbers of pairs, mean distances and, where there are both kinds, how well a threshold tells them apart. Of
        two pairs, the nearer should be the same-word one; distances of one bin are a tie."""
        result = {}
        for kind, counts, mean in zip(("same_word", "different_word"), self.counts, self.means, strict=True):
            result |= {f"{kind}_pairs": int(counts.sum()), f"{kind}_mean": float(mean) if counts.any() else None}
        if not self.counts.any(1).all():
            return result | dict.fromkeys(("auroc", "equal_error_rate", "equal_error_threshold"))
        rate, bins = equal_error(*self.counts)
        return result | {"auroc": auroc(*self.counts), "equal_error_rate": rate,
                         "equal_error_threshold": 4 * bins / BINS}


def count_pairs(embeddings: np.ndarray, labels: np.ndarray) -> Pairs:
    """Count the distances of all pairs of (N, D) embeddings of length 1, in double precision, a block at a time."""
    x, count = embeddings.astype(np.float64), len(embeddings)
    squares = (x * x).sum(1)  # 1 but for the rounding of single precision
    counts, sums = np.zeros(2 * BINS, np.int64), np.zeros(2)
    rows = max(1, _CELLS // max(count, 1))
    for start in range(0, count, rows):
        block = slice(start, start + rows)
        later = np.arange(start, count) > np.arange(start, min(start + rows, count))[:, None]  # each pair once
        distances = squares[block, None] + squares[start:] - 2 * x[block] @ x[start:].T
        distances = np.clip(distances[later], 0, 4)  # rounding may leave it just outside
        kind = (labels[block, None] != labels[start:])[later].astype(np.int64)
        bins = np.minimum((distances * (BINS / 4)).astype(np.int64), BINS - 1)
        counts += np.bincount(kind * BINS + bins, minlength=2 * BINS)
        sums += np.bincount(kind, distances, minlength=2)
    counts = counts.reshape(2, BINS)
    total = counts.sum(1)
    return Pairs(counts, np.divide(sums, total, out=np.full(2, np.nan), where=total > 0))
