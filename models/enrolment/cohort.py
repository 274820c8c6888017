"""Scores held against a cohort: clips of other words, so that one threshold serves any word and any recording.

A similarity of 0.7 says much for a word that nothing resembles and little for one that many resemble. Speaker
verification normalises such scores by what a cohort of impostors gets: z-norm by the enrolled model's scores against
the cohort, t-norm by the tested clip's (Auckenthaler et al., 2000), s-norm by the mean of both (Kenny, 2010), and the
adaptive ones by the cohort's most similar clips alone (Matejka et al., 2017), as here. The cohort's classes also teach
`models.enrolment.whiten` what clips of one word differ in. A cohort is clips of a data set, or the windows of running
speech that `models.enrolment.kept_cohort` keeps beside an encoder, which need no recordings.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.base.errors import UserError
from data.base.labels import folded
from data.manifests.corpus import Corpus, load_corpus
from data.manifests.manifest import Manifest
from data.sampler import spread
from models.enrolment.enrol import (
    BOTH,
    NEAREST,
    Comparison,
    by_both,
    by_clip,
    by_mean,
    clip_scores,
    unit_means,
)
from models.enrolment.kept_cohort import KEPT, Cohort
from models.enrolment.whiten import Whitening
from models.runs.provenance import training_set

TOP = 300  # most similar clips of the cohort that scores are held against
MOST = 1000  # clips of a cohort that scores are held against
LEARN = 4000  # clips of a cohort that are embedded: a covariance needs more of them
LEAST = 30  # below which there is no mean and deviation worth the name
WHITENED = "whitened embedding"  # the name of these ways of scoring
_FLOOR = 1e-6  # of a deviation: a cohort whose clips are all alike
_CELLS = 1 << 24  # similarities held at a time


@dataclass(frozen=True)
class Held:
    """What scores are held against.

    Attributes:
        vectors: (M, D) embeddings of length 1.
        whitening: by the words of the cohort; None if they are too few.
    """

    vectors: np.ndarray
    whitening: Whitening | None

    @classmethod
    def of_clips(cls, vectors: np.ndarray, labels: np.ndarray) -> Held:
        """Of embeddings (N, D) of a cohort's clips and their classes (N,): `MOST` of them are held against."""
        return cls(vectors[spread(labels, MOST)], Whitening.fit(vectors, labels))

    @classmethod
    def of_kept(cls, kept: Cohort, taken: Sequence[str]) -> Held:
        """Of a cohort that is kept beside the encoder, without windows in which one of ``taken`` is known to be said.

        Raises:
            UserError: too few are left.
        """
        rows = kept.without(taken)
        check_enough(KEPT, len(rows), "windows")
        return cls(kept.plain[rows], kept.whitening)


def statistics(vectors: np.ndarray, cohort: np.ndarray, top: int = TOP) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each vector's similarities to the ``top`` cohort clips most similar to it.

    Args:
        vectors: (N, D), rows of length 1.
        cohort: (M, D), rows of length 1; with fewer than ``top``, all are taken.

    Returns:
        (N,) and (N,) float64, the deviations above 0.
    """
    top, step = min(top, len(cohort)), max(1, _CELLS // len(cohort))
    means, deviations = np.empty(len(vectors)), np.empty(len(vectors))
    for start in range(0, len(vectors), step):
        block = slice(start, start + step)
        similarities = vectors[block] @ cohort.T  # (n, M)
        nearest = np.partition(similarities, len(cohort) - top, axis=1)[:, len(cohort) - top:].astype(np.float64)
        means[block], deviations[block] = nearest.mean(1), nearest.std(1)
    return means, np.maximum(deviations, _FLOOR)


def z_norm(scores: np.ndarray, models: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Scores (Q, C) by the mean and deviation, (C,) each, that the enrolled models' scores against the cohort have."""
    return (scores - models[0]) / models[1]


def t_norm(scores: np.ndarray, clips: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Scores (Q, C) by the mean and deviation, (Q,) each, that the tested clips' scores against the cohort have."""
    return (scores - clips[0][:, None]) / clips[1][:, None]


def s_norm(scores: np.ndarray, models: tuple[np.ndarray, np.ndarray],
           clips: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The mean of `z_norm` and `t_norm`: with `statistics` of the most similar clips, the adaptive s-norm."""
    return (z_norm(scores, models) + t_norm(scores, clips)) / 2


def comparisons(queries: np.ndarray, pool: np.ndarray, cohort: np.ndarray, top: int = TOP, kinds: str = "zts",
                name: str = "embedding", both: Comparison | None = None) -> dict[str, Comparison]:
    """`models.enrolment.enrol.by_mean` and `by_clip` with their scores normalised, by the method's name.

    By the nearest clip, each enrolled clip is a model of its own, and its class has the best of their scores.

    Args:
        queries: (Q, D), pool: (P, D) and cohort: (M, D), rows of length 1.
        kinds: z-, t- and s-norm by their letters.
        name: of the vectors, which the methods' names begin with.
        both: `models.enrolment.enrol.by_both` of these vectors, to be t-normalised, too.
    """
    clips = statistics(queries, cohort, top)
    enrolled = None if kinds == "t" else statistics(pool, cohort, top)  # t-norm looks at the tested clip alone

    def normalised(kind: str, plain: np.ndarray, models: tuple[np.ndarray, np.ndarray] | None,
                   part: slice) -> np.ndarray:
        asked = tuple(of[part] for of in clips)
        norm = {"z": lambda: z_norm(plain, models), "t": lambda: t_norm(plain, asked),
                "s": lambda: s_norm(plain, models, asked)}[kind]
        return norm().astype(np.float32)

    def by_means(kind: str) -> Comparison:
        def scores(rows: np.ndarray, part: slice) -> np.ndarray:
            means = unit_means(pool[rows])  # (C, D)
            return normalised(kind, queries[part] @ means.T, None if kind == "t" else statistics(means, cohort, top),
                              part)
        return scores

    def by_clips(kind: str) -> Comparison:
        def scores(rows: np.ndarray, part: slice) -> np.ndarray:
            each = clip_scores(queries[part], pool[rows]).reshape(-1, rows.size)  # (q, C N)
            models = None if kind == "t" else tuple(of[rows.ravel()] for of in enrolled)
            return normalised(kind, each, models, part).reshape(-1, *rows.shape).max(2)
        return scores
    found = {f"{name}, {kind}-norm{how}": compare(kind) for kind in kinds
             for how, compare in (("", by_means), (NEAREST, by_clips))}
    if both is None:
        return found
    return found | {f"{name}, t-norm{BOTH}": lambda rows, part: normalised("t", both(rows, part), None, part)}


def whitened(queries: np.ndarray, pool: np.ndarray, held: Held) -> dict[str, Comparison]:
    """Comparisons of whitened embeddings, plain and t-normalised; none where the cohort gives no whitening.

    Args:
        queries: (Q, D) and pool: (P, D), rows of length 1.
    """
    if held.whitening is None:
        return {}
    queries, pool, cohort = (held.whitening(x) for x in (queries, pool, held.vectors))
    both = by_both(queries, pool)
    return {WHITENED: by_mean(queries, pool), f"{WHITENED}{NEAREST}": by_clip(queries, pool), f"{WHITENED}{BOTH}": both
            } | comparisons(queries, pool, cohort, kinds="t", name=WHITENED, both=both)


def choose(corpus: Corpus, taken: Sequence[str]) -> Manifest:
    """The train clips that make a cohort: at most 4,000, spread over the words that are not ``taken``.

    A label that differs from one of these but by case, blanks or Unicode form is that word too.

    Raises:
        UserError: too few such clips.
    """
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


def find(args: Namespace, config: dict, taken: Sequence[str]) -> tuple[str, Manifest] | str:
    """Name and clips of the cohort that --cohort names, or that the encoder was trained on; or why there is none.

    Args:
        config: of the encoder's run, {} if it has none.
        taken: the labels that are enrolled or unknown.

    Raises:
        UserError: --cohort names none that will do.
    """
    if args.cohort:
        return args.cohort, choose(load_corpus(args.cohort, ("train",), args.registry), taken)
    if (known := training_set(config)) is None:
        return "this encoder does not say what it was trained on; name a data set with --cohort"
    name, registry = known
    try:
        return name, choose(load_corpus(name, ("train",), registry), taken)
    except UserError as error:
        return f"of what this encoder was trained on: {error}"
