"""Scores normalised by a cohort, clips of other words, so that one threshold serves any word and any recording.

T-norm (Auckenthaler et al., 2000) normalises a clip's scores by those that it gets against a cohort, here by the most
similar of these alone (Matejka et al., 2017). A cohort is clips of a data set, or what `models.enrolment.kept_cohort`
keeps beside an encoder. Its classes also teach a `Whitening`.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.base.errors import UserError
from data.base.labels import folded
from data.manifests.corpus import Corpus, load_corpus
from data.manifests.manifest import Manifest
from data.sampler import spread
from models.enrolment.enrol import BOTH, Comparison, by_both, by_mean, unit

TOP = 300  # most similar clips of the cohort, by which scores are normalised
MOST = 1000  # clips of a cohort that these are taken from
LEARN = 4000  # clips of a cohort that are embedded: a covariance needs more of them
LEAST = 30  # below which there is no mean and deviation worth the name
WHITENED = "whitened embedding"  # the name of these ways of scoring
_FLOOR = 1e-6  # of a deviation: a cohort whose clips are all alike
_CELLS = 1 << 24  # similarities in memory at a time
SHRINK = 0.5  # of the mean variance, added to each: directions that hardly vary are not blown up
PER_DIMENSION = 4  # degrees of freedom within classes that a covariance needs for each of its dimensions


@dataclass(frozen=True)
class Whitening:
    """x to (x - centre) factor, scaled to length 1: within-class covariance normalisation (Hatch, Kajarekar & Stolcke,
    2006). The classes' mean is subtracted, which all clips of a kind of recording share, and the covariance within them
    whitened: clips of one word differ in it anyway (voice, microphone, neighbours)."""

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


@dataclass(frozen=True)
class Reference:
    """What scores are normalised by."""

    vectors: np.ndarray  # (M, D) embeddings of length 1
    whitening: Whitening | None  # by the words of the cohort; None if they are too few

    @classmethod
    def of_clips(cls, vectors: np.ndarray, labels: np.ndarray) -> Reference:
        """Of embeddings (N, D) of a cohort's clips and their classes (N,); scores are normalised by `MOST` of them."""
        return cls(vectors[spread(labels, MOST)], Whitening.fit(vectors, labels))


def statistics(vectors: np.ndarray, cohort: np.ndarray, top: int = TOP) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation, (N,) float64 each, of the similarities of (N, D) vectors to the ``top`` most similar
    of a cohort's (M, D), all rows of length 1."""
    others, step, found = max(0, len(cohort) - top), max(1, _CELLS // len(cohort)), [np.zeros((2, 0))]
    for start in range(0, len(vectors), step):
        similarities = vectors[start:start + step] @ cohort.T  # (n, M)
        nearest = np.partition(similarities, others, axis=1)[:, others:].astype(np.float64)
        found.append(np.stack([nearest.mean(1), nearest.std(1)]))
    means, deviations = np.concatenate(found, axis=1)
    return means, np.maximum(deviations, _FLOOR)


def comparisons(queries: np.ndarray, pool: np.ndarray, cohort: np.ndarray, top: int = TOP, name: str = "embedding",
                both: Comparison | None = None) -> dict[str, Comparison]:
    """`by_mean` and perhaps ``both``, t-normalised, by names that begin with ``name``: of queries (Q, D),
    pool (P, D) and cohort (M, D), rows of length 1."""
    means, deviations = (x[:, None] for x in statistics(queries, cohort, top))

    def normalised(compare: Comparison) -> Comparison:
        return lambda rows, part: ((compare(rows, part) - means[part]) / deviations[part]).astype(np.float32)

    ways = {"": by_mean(queries, pool)} | ({BOTH: both} if both else {})
    return {f"{name}, t-norm{how}": normalised(compare) for how, compare in ways.items()}


def whitened(queries: np.ndarray, pool: np.ndarray, reference: Reference) -> dict[str, Comparison]:
    """Comparisons of whitened embeddings, plain and t-normalised; none where the cohort gives no whitening."""
    if reference.whitening is None:
        return {}
    queries, pool, cohort = (reference.whitening(x) for x in (queries, pool, reference.vectors))
    both = by_both(queries, pool)
    return {WHITENED: by_mean(queries, pool), f"{WHITENED}{BOTH}": both} | comparisons(
        queries, pool, cohort, name=WHITENED, both=both)


def choose(corpus: Corpus, taken: Sequence[str]) -> Manifest:
    """The train clips that make a cohort: at most 4,000, spread over the words that are not ``taken``. Raises UserError
    if there are too few."""
    train, names = corpus.splits["train"], {folded(label) for label in taken}
    other = np.array([folded(label) not in names for label in train.labels])
    rows = np.flatnonzero(other[train.label])
    check_enough(corpus.name, len(rows))
    return train.subset(rows[spread(train.label[rows], LEARN)])


def check_enough(name: str, clips: int, what: str = "training clips") -> None:
    """Raise UserError unless a cohort has clips enough for a mean and a deviation."""
    if clips < LEAST:
        raise UserError(f"the cohort {name!r} has {clips} {what} of words that are neither enrolled nor unknown, at "
                        f"least {LEAST} are needed; name another data set with --cohort")


def find(args: Namespace, config: dict, taken: Sequence[str]) -> tuple[str, Manifest]:
    """Name and clips of the cohort that --cohort names, or that an encoder was trained on by its run's configuration,
    without the ``taken`` labels. Raises UserError if there is none."""
    begun = config.get("arguments", {})
    if not args.cohort and not {"manifest", "registry"} <= begun.keys():
        raise UserError("this encoder does not say what it was trained on; name a data set with --cohort")
    name, registry = (args.cohort, args.registry) if args.cohort else (begun["manifest"], Path(begun["registry"]))
    return name, choose(load_corpus(name, ("train",), registry), taken)
