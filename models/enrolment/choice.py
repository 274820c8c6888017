"""Which way of scoring to take: chosen on the dev set, as the test set must have no part in a choice."""

from collections.abc import Sequence
from functools import reduce

import numpy as np

from data.dataset import Clips
from data.manifests.corpus import Corpus
from data.sampler import spread
from models.enrolment.enrol import Result
from models.runs.provenance import Record

MOST = 2000  # dev clips that are embedded


def dev_clips(dev: Clips, corpus: Corpus, words: tuple[np.ndarray, np.ndarray],
              others: Sequence[Clips]) -> np.ndarray | str:
    """At most 2,000 dev clips of the words, classes that are enrolled and classes that are unknown; or why there are
    none. They must not be among ``others``: the clips that are enrolled from, and the test clips."""
    chosen = [np.flatnonzero(np.isin(dev.manifest.label, classes)) for classes in words]
    for rows, classes, what in zip(chosen, words, ("an enrolled", "an unknown"), strict=True):
        if len(classes) and not len(rows):
            return f"the dev set has no clip of {what} word"
    rows = np.concatenate([part[spread(dev.manifest.label[part], MOST // 2)] for part in chosen])
    known = reduce(Record.__or__, (Record.of(clips, corpus) for clips in others))
    if same := known.seen(dev, corpus, rows)[0]:
        return f"{same:,} of its {len(rows):,} clips are test or training clips, too"
    return np.sort(rows)


def choose(results: Sequence[Result]) -> tuple[str, dict[int, tuple[str, float]]]:
    """For each number of enrolled clips the method with the least equal-error rate or, where no word is unknown, with
    the highest accuracy; the first of equal ones. Returns the figure's name; and by the number of clips (method, its
    mean over the draws)."""
    figure, best = ("equal_error_rate", min) if "equal_error_rate" in results[0].figures else ("accuracy", max)
    tried: dict[int, list[tuple[str, float]]] = {}
    for result in sorted(results, key=lambda result: result.shots):
        tried.setdefault(result.shots, []).append((result.method, float(result.figures[figure].mean())))
    return figure, {shots: best(of_shots, key=lambda one: one[1]) for shots, of_shots in tried.items()}
