"""Windows of one sound that share their work: what an encoder with context (`models.context`) makes possible.

Each row of frames is computed once. A window's embedding is made of the means over the rows in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from models.context import ROW

BATCH = 32  # windows at once; of more, what lies between the layers leaves the cache


@dataclass(frozen=True)
class Shared:
    """How windows that share rows are embedded.

    Attributes:
        rows: (S,) int16, S from a window's length on, to (R, C), the rows that have all their context.
        weight, bias: (D, P * C) and (D,), of the projection from the means over P stretches of a window.
        count: rows of a window.
    """

    rows: Callable[[np.ndarray], np.ndarray]
    weight: np.ndarray
    bias: np.ndarray
    count: int

    def pool(self, rows: np.ndarray, every: int) -> np.ndarray:
        """Unit embeddings (N, D) of the windows that begin at each ``every``-th of the rows (R, C)."""
        parts, first = self.weight.shape[1] // rows.shape[1], np.arange(0, len(rows) - self.count + 1, every)
        sums = np.concatenate([np.zeros((1, rows.shape[1])), rows.cumsum(0, dtype=np.float64)])
        bounds = [self.count * i // parts for i in range(parts + 1)]
        means = [(sums[first + end] - sums[first + start]) / (end - start) for start, end in pairwise(bounds)]
        found = np.concatenate(means, 1).astype(np.float32) @ self.weight.T + self.bias
        return (found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12))


class InOrder:
    """Embeddings of one sound's windows, ``hop`` samples apart, a whole number of rows, that come in order."""

    def __init__(self, shared: Shared, hop: int):
        self.shared, self.every, self.kept = shared, hop // ROW, None

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        """The next windows (B, S) int16 to (B, D)."""
        hop = self.every * ROW
        samples = np.concatenate([clips[:-1, :hop].ravel(), clips[-1]])
        known = 0 if self.kept is None else len(self.kept)
        rows = self.shared.rows(samples[known * ROW:])
        if known:
            rows = np.concatenate([self.kept, rows])
        rows = rows[:(len(clips) - 1) * self.every + self.shared.count]
        self.kept = rows[len(clips) * self.every:]
        return self.shared.pool(rows, self.every)
