"""How far apart test clips of the same word lie, and those of different words: every pair of them is counted.

Distances are squared Euclidean ones of embeddings of length 1, so 0 to 4.
"""

from dataclasses import dataclass

import numpy as np

from models.neighbours.separation import auroc, equal_error

BINS = 40_000  # of the counts, over 0 to 4: thresholds are found to 0.0001
_CELLS = 1 << 20  # distances computed at a time: bounds memory, to some 40 MB


@dataclass
class Pairs:
    """The distances of same-word (first) and of different-word pairs (second)."""

    counts: np.ndarray  # (2, BINS) int64, pairs by distance, in bins of equal width from 0 to 4
    means: np.ndarray  # (2,) float64; NaN where there is no pair

    def figures(self) -> dict:
        """Numbers of pairs, mean distances and, where there are both kinds, how well a threshold tells them apart.

        Of two pairs, the nearer should be the same-word one; distances of one bin are a tie.
        """
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
