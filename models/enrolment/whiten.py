"""Within-class covariance normalisation (Hatch, Kajarekar & Stolcke, 2006).

The mean of a cohort's classes is subtracted, which all clips of a kind of recording share, and the covariance within
its classes whitened: clips of one word differ in it anyway (voice, microphone, neighbours).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.enrolment.enrol import unit

SHRINK = 0.5  # of the mean variance, added to each: directions that hardly vary are not blown up
PER_DIMENSION = 4  # degrees of freedom within classes that a covariance needs for each of its dimensions


@dataclass(frozen=True)
class Whitening:
    """x to (x - centre) factor, scaled to length 1."""

    centre: np.ndarray  # (D,) float32, the mean of the classes' means
    factor: np.ndarray  # (D, D) float32: factor factor^T is the inverse of the shrunk covariance within a class

    @classmethod
    def fit(cls, vectors: np.ndarray, labels: np.ndarray) -> Whitening | None:
        """Learn it from (N, D) embeddings of length 1 and their (N,) classes; None where they are too few."""
        _, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
        freedom = len(labels) - len(counts)
        if freedom < PER_DIMENSION * vectors.shape[1]:
            return None
        means = np.zeros((len(counts), vectors.shape[1]))
        np.add.at(means, place, vectors)
        means /= counts[:, None]
        away = vectors - means[place]
        within = away.T @ away / freedom  # (D, D)
        mean_variance = np.trace(within) / len(within)
        if not mean_variance > 0:
            return None  # every class's clips are all alike
        within += SHRINK * mean_variance * np.eye(len(within))
        factor = np.linalg.cholesky(np.linalg.inv(within))
        return cls(means.mean(0).astype(np.float32), factor.astype(np.float32))

    def fits(self, width: int) -> bool:
        """Whether it can be one of embeddings of this width, after it was read from a file."""
        return all(x.dtype == np.float32 and np.isfinite(x).all() for x in (self.centre, self.factor)) \
            and self.centre.shape == (width,) and self.factor.shape == (width, width)

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Embeddings of length 1, (N, D) float32, to as many of length 1."""
        return unit((vectors - self.centre) @ self.factor)
