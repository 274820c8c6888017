"""Embeddings with what all clips share taken out, and what clips of one word differ in weighed down.

Similarities of words that nobody trained on are swamped by two things: a part common to all clips of a kind of
recording, and directions in which clips of one and the same word differ anyway (voice, microphone, neighbours).
Within-class covariance normalisation (Hatch, Kajarekar & Stolcke, 2006) subtracts the mean and whitens by the
covariance within a class. Of a cohort that is made for a test (`models.enrolment.cohort.embed_cohort`) both come from
clips of other words, so that nothing of the test or of the enrolled words enters. The whitening of a cohort kept beside
an encoder is learnt once, before anybody enrols a word: it may have seen the tested words, said by the cohort's
speakers, and `models.enrolment.kept_cohort.Cohort.learnt_from` says which.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.enrolment.enrol import unit

SHRINK = 0.5  # of the mean variance, added to each: directions that hardly vary are not blown up
PER_DIMENSION = 4  # degrees of freedom within classes that a covariance needs for each of its dimensions


@dataclass(frozen=True)
class Whitening:
    """x to (x - centre) factor, scaled to length 1.

    Attributes:
        centre: (D,) float32, the mean of the classes' means.
        factor: (D, D) float32, with factor factor^T the inverse of the shrunk covariance within a class.
    """

    centre: np.ndarray
    factor: np.ndarray

    @classmethod
    def fit(cls, vectors: np.ndarray, labels: np.ndarray) -> Whitening | None:
        """Learn it from (N, D) embeddings of length 1 and their (N,) classes; None where they are too few.

        A class with one clip tells where the centre is, and nothing of the covariance.
        """
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

    @classmethod
    def read(cls, centre: np.ndarray | None, factor: np.ndarray, width: int) -> Whitening | None:
        """From arrays that were kept in a file; None if they cannot be those of embeddings of this width."""
        if centre is None or any(x.dtype.kind != "f" or not np.isfinite(x).all() for x in (centre, factor)):
            return None
        if centre.shape != (width,) or factor.shape != (width, width) or np.linalg.matrix_rank(factor) < width:
            return None
        return cls(centre.astype(np.float32), factor.astype(np.float32))

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Embeddings of length 1, (N, D) float32, to as many of length 1."""
        return unit((vectors - self.centre) @ self.factor)
