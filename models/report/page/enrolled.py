"""The page of a test of enrolled words: what the draws of enrolled clips made of every test clip."""

from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np

from data.dataset import Clips
from models.enrolment.enrol import PERCENTS, UNKNOWN, Result, accepted_at
from models.report.enrol_report import HEADINGS, cells
from models.report.page.clips import clip_of
from models.report.page.origin import notes_of, origin_rows
from models.report.page.parts import Matrix, Mistake, Page, Picture, Table
from models.report.tables import DRAWN_OF_MORE, MOST_DRAWN

PERCENT = max(PERCENTS)  # of unknown clips accepted, at most: the threshold that the mistakes are told by


def page_of_enrolment(stem: str, content: dict, results: Sequence[Result], truth: np.ndarray,
                      test: tuple[Clips, np.ndarray, np.ndarray], train: tuple[Clips, np.ndarray, np.ndarray],
                      drawn: np.ndarray, enrolled: np.ndarray, pictures: Sequence[Picture]) -> Page:
    """A page of the figures that `models.report.enrol_report.report_enrolment` printed.

    The mistakes are those of the first method with the most shots, over all R draws; with unknown clips, at the
    threshold that accepts 5 % of them.

    Args:
        content: what that returned.
        truth: (Q,) as in `models.enrolment.enrol.evaluate`.
        test: the clips, the (Q,) rows of those tested, and their embeddings (Q, D).
        train: the clips, the (P,) rows of those that some draw enrolled, and their embeddings (P, D).
        drawn: (R, C, N) rows of these P.
        enrolled: (C,) classes.
    """
    labels, method = test[0].manifest.labels, results[0].method
    result = max((r for r in results if r.method == method), key=lambda r: r.shots)
    draws, rejects = len(result.best), bool((truth == UNKNOWN).any())
    none = len(enrolled)  # the column of what is rejected
    decided, thresholds = decide(result, truth, none)  # (R, Q), (R,)
    goal = np.where(truth == UNKNOWN, none, truth)
    names = {c: labels[c] for c in range(len(labels))}
    columns = {i: labels[c] for i, c in enumerate(enrolled)} | ({none: "(rejected)"} if rejects else {})

    classes = test[0].manifest.label[test[1]]  # (Q,)
    cell, count = np.unique(np.stack([np.tile(classes, draws), decided.ravel()]), axis=1, return_counts=True)
    counts = {(int(r), int(c)): int(n) for (r, c), n in zip(cell.T, count, strict=True)}
    right = {int(c): int(g) for c, g in zip(classes, goal, strict=True)}
    shown, few = _shown(counts, right, columns)
    where = f"{method}, {result.shots} clip{'s' * (result.shots > 1)} enrolled a class, all {draws:,} draws"
    caption = f"Test clips of each word (rows), by what they were recognised as (columns): {where}"
    if rejects:
        name = f"accuracy_at_{PERCENT}_percent"
        caption += (f"; rejected below each draw's lowest threshold that accepts {PERCENT} % of the unknown clips at "
                    f"most. Right of the enrolled words' clips: {100 * float(result.figures[name].mean()):.2f} %, the "
                    f"table's {HEADINGS[name]}")
    unknown = int((truth == UNKNOWN).sum())
    return Page(
        stem, f"{len(enrolled)} words enrolled from a few clips, {len(truth) - unknown:,} test clips of them"
        + (f", {unknown:,} of {len(content['facts']['unknown'])} unknown words" if rejects else "") + f": {stem}.",
        [], {"clip": "clip", "row": "word", "column": "recognised as",
             "values": ["draws", "score", *["threshold"] * rejects, "nearest, similarity"],
             "nearest": "nearest enrolled clip"},
        names, columns, Matrix("What was recognised as what", caption + few, counts, right, shown),
        list(_mistakes(result, decided, thresholds, goal, classes, test, train, drawn[:, :, :result.shots], rejects)),
        origin_rows(content, {"test": test[0], "train": train[0]}), notes_of(content["facts"]),
        [Table(f"Per cent, mean \u00b1 standard deviation over {draws} draws of the enrolled clips", cells(results))],
        list(pictures),
        f"A clip that several draws got wrong in the same way is one mistake; the draws column says of how many of the "
        f"{draws:,}, and score, threshold and nearest enrolled clip are those of the first. ({where}.)",
        "what --save writes")


def decide(result: Result, truth: np.ndarray, none: int) -> tuple[np.ndarray, np.ndarray]:
    """What each draw makes of each clip, (R, Q): an enrolled class, or ``none`` for what is rejected; and the draws'
    thresholds, (R,), which a score must exceed, -inf without unknown clips."""
    unknown = truth == UNKNOWN
    if not unknown.any():
        return result.best, np.full(len(result.best), -np.inf)
    scores = -np.sort(-result.score[:, unknown], axis=1)
    thresholds = scores[:, accepted_at(PERCENT, int(unknown.sum()))]
    return np.where(result.score > thresholds[:, None], result.best, none), thresholds


def _mistakes(result: Result, decided: np.ndarray, thresholds: np.ndarray, goal: np.ndarray, classes: np.ndarray,
              test: tuple[Clips, np.ndarray, np.ndarray], train: tuple[Clips, np.ndarray, np.ndarray],
              drawn: np.ndarray, rejects: bool) -> Iterator[Mistake]:
    """Those in most draws first, then the surest."""
    wrong = decided != goal
    found = []
    for q in np.flatnonzero(wrong.any(0)):
        for column in np.unique(decided[wrong[:, q], q]):
            draws = np.flatnonzero(decided[:, q] == column)
            found.append((len(draws), float(result.score[draws[0], q]), int(q), int(column), int(draws[0])))
    none = len(drawn[0])  # of what is rejected, the least similar comes first
    for count, score, q, column, draw in sorted(found, key=lambda m: (-m[0], m[1] if m[3] == none else -m[1], m[2])):
        rows = drawn[draw].ravel()
        similar = train[2][rows] @ test[2][q]
        best = int(similar.argmax())
        values = [(count, f"{count}\u00a0of\u00a0{len(decided)}"), (score, f"{score:.3f}"),
                  *([(float(thresholds[draw]), f"{thresholds[draw]:.3f}")] if rejects else []),
                  (float(similar[best]), f"{similar[best]:.3f}")]
        yield Mistake(int(classes[q]), column, tuple(values), clip_of(test[0], int(test[1][q]), "test"),
                      clip_of(train[0], int(train[1][rows[best]]), "train", labelled=True))


def _shown(counts: dict, right: dict, columns: dict) -> tuple[tuple[list[int], list[int]], str]:
    """Rows and columns to draw, and what is said if these are not all."""
    rows = sorted({r for r, _ in counts})
    if max(len(rows), len(columns)) <= MOST_DRAWN:
        return (rows, list(columns)), ""
    wrong = sorted(((r, c) for r, c in counts if right[r] != c), key=lambda cell: (-counts[cell], cell))
    few = _first((r for r, _ in wrong), rows)
    across = _first((c for cell in wrong for c in (cell[1], right[cell[0]])), columns)
    return (few, across), (f". Drawn are {len(few)} of {len(rows):,} rows and {len(across)} of {len(columns):,} "
                           "columns, those of the most frequent mistakes")


def _first(ranked: Iterable[int], every: Collection[int]) -> list[int]:
    """All where there is room for them, else the first of those ranked, then any others; ascending."""
    return sorted(every if len(every) <= MOST_DRAWN else list(dict.fromkeys([*ranked, *every]))[:DRAWN_OF_MORE])
