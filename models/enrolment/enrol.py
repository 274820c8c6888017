"""New words without training: enrol a few clips of each class, recognise test clips, and reject what was not enrolled.

A test clip's score is its similarity to the enrolled class that it is most similar to; a threshold on it accepts or
rejects the clip. Every figure is exact: clips of equal score are accepted or rejected together.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from data.base.errors import UserError, first_few
from data.base.labels import SILENCE, visible
from data.manifests.corpus import Corpus
from data.manifests.manifest import Manifest
from models.neighbours import auroc, equal_error
from models.runs.options.testing import PROTOCOLS

MOST_NAMED = 40  # labels listed in a message
UNKNOWN = -1  # the class of a test clip whose word is not enrolled
PERCENTS = (1, 5)  # of unknown clips accepted, at which accuracy is reported
BOTH = ", mean and nearest three"  # ending of names of methods by a class's mean and its most similar clips, half each
FEW = 3  # most similar clips of these
SECOND = 0.97  # of a word's second model, which counts only if it is more alike by so much
_SCORES = 1 << 24  # (Q, C) similarities computed at a time: bounds memory with thousands of classes

# From the enrolled clips of C classes, (C, N) rows of the pool, and a slice of the queries, to similarities (q, C).
Comparison = Callable[[np.ndarray, slice], np.ndarray]


@dataclass
class Result:
    """What one method did with one number of enrolled clips, over R draws of them and Q test clips."""

    method: str
    shots: int
    best: np.ndarray  # (R, Q) int64, the most similar enrolled class, 0 to C - 1
    score: np.ndarray  # (R, Q) float32, its similarity
    figures: dict[str, np.ndarray]  # name to (R,) float64, shares of 0 to 1


def choose_words(labels: Sequence[str], enroll: Sequence[str] | None, unknown: Sequence[str] | None,
                 manifest: str) -> tuple[np.ndarray, np.ndarray]:
    """The classes to enrol and those to reject, (C,) and (U,) int64 indices into ``labels``. Labels to ``enroll`` are
    by default all that are not ``unknown``; no label is unknown by default, and all others are if the list is empty.
    Raises UserError for a label that the manifest lacks, one in both, or nothing left to tell apart."""
    rejected = set(unknown or ())
    if missing := sorted({*(enroll or ()), *rejected} - {*labels}):
        raise UserError(f"--enroll, --unknown: --manifest {manifest} has no label {', '.join(map(repr, missing))}; it "
                        f"has {first_few(map(visible, labels), MOST_NAMED)}")
    if both := sorted({*(enroll or ())} & rejected):
        raise UserError(f"--enroll and --unknown both name {', '.join(both)}; take it out of one of them")
    known = set(labels if enroll is None else enroll) - rejected
    if unknown is not None and not rejected:
        rejected = set(labels) - known
    if len(known) < (1 if rejected else 2) or (unknown is not None and not rejected):
        raise UserError(f"{len(known)} of the {len(labels)} labels of --manifest {manifest} would be enrolled and "
                        f"{len(rejected)} rejected; enrol more by --enroll, or reject others by --unknown")
    return tuple(np.array([c for c, label in enumerate(labels) if label in chosen], np.int64)
                 for chosen in (known, rejected))


def check_protocol(name: str, corpus: Corpus) -> None:
    """Raise UserError unless a data set has what a protocol of `models.runs.options.testing.PROTOCOLS` is about."""
    if not {*PROTOCOLS[name]["enroll"], SILENCE} < {*corpus.labels}:
        raise UserError(f"--protocol {name}: --manifest {corpus.name} lacks the protocol's words, others or {SILENCE}; "
                        "make a set of all words and silence with python -m data.speech_commands --silence")


def draw(train_labels: np.ndarray, enrolled: np.ndarray, shots: int, repeats: int, seed: int) -> np.ndarray:
    """Draw the clips to enrol for (C,) classes, without replacement within a repeat, from (N,) classes of train clips.
    The first n of a class's are its draw for n shots. A class's draws depend on the seed and on its own clips, not on
    which other classes are enrolled. Returns (repeats, C, shots) int64, rows of ``train_labels``."""
    clips = [np.flatnonzero(train_labels == c) for c in enrolled]
    return np.stack([np.stack([np.random.default_rng([seed, repeat, c]).permutation(rows)[:shots]
                               for c, rows in zip(enrolled, clips, strict=True)]) for repeat in range(repeats)])


def few_draws(clips: dict[str, int], shots: int, repeats: int) -> str | None:
    """A line where there are fewer different draws of ``shots`` clips, of so many of each word, than ``repeats``."""
    ways = math.prod(math.comb(count, shots) for count in clips.values())
    return None if ways >= repeats else (
        f"{shots} clips each of {first_few(map(visible, clips), 3)} can be drawn in {ways} way{'s' * (ways > 1)} only, "
        f"so the deviation over {repeats} draws says less than it seems")


def check_clips(train: Manifest, test: Manifest, enrolled: np.ndarray, unknown: np.ndarray, shots: int) -> None:
    """Raise UserError unless there are enough clips to enrol, and clips to test both kinds of words with."""
    counts = train.counts()
    if few := [f"{visible(train.labels[c])} ({counts[c]})" for c in enrolled if counts[c] < shots]:
        raise UserError(f"--shots {shots}: too few training clips of {first_few(few)}; "
                        "ask for fewer shots, or enrol other labels with --enroll")
    for classes, flag in ((enrolled, "--enroll"), (unknown, "--unknown")):
        if len(classes) and not test.counts()[classes].any():
            names = first_few(visible(test.labels[c]) for c in classes)
            raise UserError(f"{test.path}: no test clip of {names}; name other labels with {flag}")


def targets(labels: np.ndarray, enrolled: np.ndarray) -> np.ndarray:
    """Each test clip's position in ``enrolled`` (C,), ascending, or UNKNOWN: (Q,) int64."""
    place = np.searchsorted(enrolled, labels)
    found = enrolled[np.minimum(place, len(enrolled) - 1)] == labels
    return np.where(found, place, UNKNOWN)


def by_mean(queries: np.ndarray, pool: np.ndarray) -> Comparison:
    """Compare vectors of length 1, (Q, D), with each class's mean of (P, D), scaled to length 1 again."""
    return lambda rows, part: queries[part] @ unit(pool[rows].mean(1)).T


def unit(vectors: np.ndarray) -> np.ndarray:
    """(..., D) scaled to length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def by_both(queries: np.ndarray, pool: np.ndarray) -> Comparison:
    """Compare vectors of length 1, (Q, D), with each class's mean and its `FEW` most similar of (P, D), half each."""
    return lambda rows, part: (queries[part] @ unit(pool[rows].mean(1)).T
                               + mean_of_few(clip_scores(queries[part], pool[rows]))) / 2


def mean_of_few(similar: np.ndarray) -> np.ndarray:
    """(..., N) similarities to (...), the mean of the `FEW` highest."""
    few = min(FEW, similar.shape[-1])
    return np.partition(similar, similar.shape[-1] - few, axis=-1)[..., -few:].mean(-1)


def alike(windows: np.ndarray, models: np.ndarray) -> np.ndarray:
    """How alike (B, D) windows are to each of a word's K, (B, K), by two models (2, K, 1 + N, D), the mean of N clips
    and these: half to the mean, half to the `FEW` most similar. The more alike model counts, the second `SECOND`."""
    similar = (windows @ models.reshape(-1, models.shape[-1]).T).reshape(-1, *models.shape[:3])
    found = (similar[..., 0] + mean_of_few(similar[..., 1:])) / 2
    return np.maximum(found[:, 0], SECOND * found[:, 1])


def clip_scores(queries: np.ndarray, enrolled: np.ndarray) -> np.ndarray:
    """Similarities of (Q, D) to every one of (C, N, D) enrolled clips: (Q, C, N)."""
    return (queries @ enrolled.reshape(-1, enrolled.shape[2]).T).reshape(len(queries), *enrolled.shape[:2])


def evaluate(methods: dict[str, Comparison], drawn: np.ndarray, shots: Sequence[int],
             truth: np.ndarray) -> list[Result]:
    """Test every method with every number of shots (at most N) on every draw of (R, C, N) rows of the pool; ``truth``
    is (Q,), the class of every query, or UNKNOWN. With one clip enrolled, it is the mean: methods by `BOTH` are left
    out."""
    results = []
    for method, compare in methods.items():
        for n in (n for n in shots if n > 1 or not method.endswith(BOTH)):
            found = [recognise(compare, rows[:, :n], len(truth)) for rows in drawn]
            best, score = (np.stack(arrays) for arrays in zip(*found, strict=True))
            each = [figures(truth, *pair) for pair in found]
            results.append(Result(method, n, best, score, {name: np.array([one[name] for one in each])
                                                           for name in each[0]}))
    return results


def recognise(compare: Comparison, rows: np.ndarray, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Best class (Q,) int64, ties to the lowest, and its similarity (Q,) from enrolled clips (C, N)."""
    step = max(1, _SCORES // rows.size)
    best, score = [], []
    for start in range(0, queries, step):
        similarity = compare(rows, slice(start, start + step))  # (q, C)
        best.append(similarity.argmax(1))
        score.append(similarity.max(1))
    return np.concatenate(best), np.concatenate(score)


def figures(truth: np.ndarray, best: np.ndarray, score: np.ndarray) -> dict[str, float]:
    """From (Q,) true classes or UNKNOWN, most similar classes and similarities: accuracy over the enrolled classes'
    clips and, where there are unknown clips, how well these are rejected."""
    enrolled = truth != UNKNOWN
    right, known, unknown = (best == truth)[enrolled], score[enrolled], np.sort(score[~enrolled])[::-1]
    result = {"accuracy": float(right.mean())}
    if not len(unknown):
        return result
    counts = by_score(known, unknown)
    result |= {"auroc": auroc(*counts), "equal_error_rate": equal_error(*counts)[0]}
    for percent in PERCENTS:
        # The lowest threshold that accepts at most so many unknown clips lies just above the next one's score.
        allowed = accepted_at(percent, len(unknown))
        result[f"accuracy_at_{percent}_percent"] = float((right & (known > unknown[allowed])).mean())
    return result


def accepted_at(percent: int, unknown: int) -> int:
    """How many of the unknown clips may be accepted at a false acceptance of at most ``percent``."""
    return unknown * percent // 100


def by_score(known: np.ndarray, unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many of the known and of the unknown clips have each score that occurs, the highest first: (S,) and (S,)."""
    scores, place = np.unique(np.concatenate([known, unknown]), return_inverse=True)
    return tuple(np.bincount(of, minlength=len(scores))[::-1] for of in (place[:len(known)], place[len(known):]))


def misses(known: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """(U + 1,): for k = 0 to U, the least share of known clips rejected while at most k unknown ones are accepted."""
    rejected = np.searchsorted(np.sort(known), np.sort(unknown)[::-1], "right")
    return np.append(rejected, 0) / len(known)
