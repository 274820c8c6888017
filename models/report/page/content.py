"""What the page of a test shows: of one in which every clip gets one class, and of one of enrolled words."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from data.audio.dataset import Clips
from data.manifests.manifest import Manifest
from models.enrolment.enrol import PERCENTS, UNKNOWN, Result, accepted_at
from models.neighbours import Prediction
from models.report import tables
from models.report.new_words import HEADINGS, cells
from models.report.outcome import Enrolment, Outcome
from models.report.page.page import Clip, Matrix, Mistake, Page, named, notes_of, origin_rows

CLASSES = 200  # in the table of classes
VOTED = 5  # classes whose votes are shown
PERCENT = max(PERCENTS)  # of unknown clips accepted, at most: the threshold that decides what is a mistake


def page_of_clips(outcome: Outcome, result: dict, test: Clips, train: Clips, nearest: Prediction,
                  pictures: dict[str, bytes], notes: Sequence[str] = ()) -> Page:
    """A page of the figures that `models.report.tables.report` printed, whose ``result`` this is; of mistakes of a
    kind, the surest come first. ``nearest`` are train clips of each test clip."""
    labels, truth, predicted = test.manifest.labels, test.manifest.label, outcome.predicted
    names, first = dict(enumerate(labels)), tables.headline(result)
    wrong, distances = np.flatnonzero(truth != predicted), nearest.distances[:, 0]
    shown, caption = tables.drawn_classes(truth, predicted,
                                          "Clips of each class (rows), by what they were taken for (columns)")
    columns = {"nearest, squared distance": lambda q: (float(distances[q]), f"{distances[q]:.3f}")}
    if outcome.scores is None:
        sure = -distances
        columns["votes"] = lambda q: votes(train.manifest, nearest.indices[q])
    else:
        sure = outcome.scores
        columns["probability"] = lambda q: (float(sure[q]), f"{sure[q]:.3f}")
    mistakes = [Mistake(int(truth[q]), int(predicted[q]), tuple(value(q) for value in columns.values()),
                        clip_of(test, q, "test"), clip_of(train, int(nearest.indices[q, 0]), "train", labelled=True))
                for q in wrong[np.argsort(-sure[wrong], kind="stable")]]
    return Page(
        outcome.stem,
        f"{len(truth):,} test clips of {len(result['classes'])} classes: how well {outcome.stem} recognises them.",
        [("accuracy, %", first["accuracy"]),
         (f"macro-F1 of {result['f1_classes']:,} classes that clips have or are taken for", first["f1_macro"]),
         ("clips right", first["right"])],
        {"clip": "clip", "row": "label", "column": "prediction", "values": list(columns),
         "nearest": "nearest training clip"}, names, names,
        Matrix("What was taken for what", caption.replace("\n", "; "),
               tables.count_predictions(truth, predicted), {c: c for c in names}, (shown.tolist(), shown.tolist())),
        mistakes, origin_rows(result, {"test": test, "train": train}), [*notes_of(result["facts"]), *notes],
        _tables(result), named(pictures), "", f"{outcome.stem}.csv")


def votes(train: Manifest, neighbours: np.ndarray) -> tuple[float, str]:
    """How many neighbours, (k,) train clips, are for the most frequent class, and how all of them vote."""
    counts = Counter(train.labels[c] for c in train.label[neighbours]).most_common()
    return float(counts[0][1]), ", ".join(f"{count} {label}" for label, count in counts[:VOTED])


def clip_of(clips: Clips, row: int, split: str, labelled: bool = False) -> Clip:
    """A clip as the encoder got it, without what was added to make it as long as the others."""
    manifest, packed, place = clips.manifest, clips.packed, int(clips.rows[row])

    def sound() -> np.ndarray:
        start = int(packed.start[place])
        return np.array(packed.samples[start:start + int(packed.length[place])])

    lines = [manifest.files[manifest.file[row]]]
    if manifest.offset[row]:
        lines.append(f"from {manifest.offset[row]:.2f} s, {manifest.duration[row]:.2f} s")
    if manifest.speaker[row] is not None:
        lines.append(f"speaker {manifest.speaker[row]}")
    return Clip(tuple(lines), sound, (split, row), manifest.labels[manifest.label[row]] if labelled else None)


def _tables(result: dict) -> list[tuple[str, Sequence[Sequence[str]]]]:
    worst = tables.worst_first(result)
    by_k = [("By the number of neighbours that vote; all else on this page is of the first",
             tables.cells_by_k(result["by_k"]))] if "by_k" in result else []
    return [*by_k, (
        "Classes, the worst first" + f"; {CLASSES} of {len(worst):,}" * (len(worst) > CLASSES),
        [("class", "accuracy, %", "right", "clips"), *(
            (c["label"], f"{100 * c['accuracy']:.2f}", f"{c['correct']:,}", f"{c['clips']:,}")
            for c in worst[:CLASSES])])]


def page_of_enrolment(outcome: Enrolment, content: dict, pictures: dict[str, bytes]) -> Page:
    """A page of the figures that `models.report.new_words.report_enrolment` printed, which returned ``content``. The
    mistakes are those of the first method with the most shots, over all R draws; with unknown clips, at the threshold
    that accepts 5 % of them."""
    truth, labels = outcome.truth, outcome.test.clips.manifest.labels
    result = max((r for r in outcome.results if r.method == outcome.results[0].method), key=lambda r: r.shots)
    rejects, unknown, draws = bool((truth == UNKNOWN).any()), int((truth == UNKNOWN).sum()), len(result.best)
    none = len(outcome.enrolled)  # the column of what is rejected
    decided, thresholds = decide(result, truth, none)  # (R, Q), (R,)
    goal = np.where(truth == UNKNOWN, none, truth)
    columns = {i: labels[c] for i, c in enumerate(outcome.enrolled)} | ({none: "(rejected)"} if rejects else {})
    where = f"{result.method}, {result.shots} clip{'s' * (result.shots > 1)} enrolled a class, all {draws:,} draws"
    return Page(
        outcome.stem, f"{none} words enrolled from a few clips, {len(truth) - unknown:,} test clips of them"
        + (f", {unknown:,} of {len(content['facts']['unknown'])} unknown words" if rejects else "")
        + f": {outcome.stem}.",
        [], {"clip": "clip", "row": "word", "column": "recognised as",
             "values": ["draws", "score", *["threshold"] * rejects, "nearest, similarity"],
             "nearest": "nearest enrolled clip"},
        dict(enumerate(labels)), columns, _matrix(outcome, result, decided, goal, columns, where),
        list(_mistakes(outcome, result, decided, thresholds, goal)),
        origin_rows(content, {"test": outcome.test.clips, "train": outcome.train.clips}), notes_of(content["facts"]),
        [(f"Per cent, mean \u00b1 standard deviation over {draws} draws of the enrolled clips",
          cells(outcome.results))],
        named(pictures),
        f"A clip that several draws got wrong in the same way is one mistake; the draws column says of how many of the "
        f"{draws:,}, and score, threshold and nearest enrolled clip are those of the first. ({where}.)",
        "what --save writes")


def _matrix(outcome: Enrolment, result: Result, decided: np.ndarray, goal: np.ndarray, columns: dict[int, str],
            where: str) -> Matrix:
    """What the draws made of the clips of each word."""
    classes = outcome.test.labels  # (Q,)
    counts = tables.count_predictions(np.tile(classes, len(decided)), decided.ravel())
    right = {int(c): int(g) for c, g in zip(classes, goal, strict=True)}
    by_row, by_column = Counter(), Counter()
    for (row, column), count in counts.items():
        if right[row] != column:
            by_row[row] += count
            by_column[column] += count
    rows, across = _most(by_row, sorted(right)), _most(by_column, list(columns))
    caption = f"Test clips of each word (rows), by what they were recognised as (columns): {where}"
    if len(columns) > len(outcome.enrolled):
        name = f"accuracy_at_{PERCENT}_percent"
        caption += (f"; rejected below each draw's lowest threshold that accepts {PERCENT} % of the unknown clips at "
                    f"most. Right of the enrolled words' clips: {100 * float(result.figures[name].mean()):.2f} %, the "
                    f"table's {HEADINGS[name]}")
    if (len(rows), len(across)) != (len(right), len(columns)):
        caption += (f". Drawn are {len(rows)} of {len(right):,} rows and {len(across)} of {len(columns):,} columns, "
                    "those with the most mistakes")
    return Matrix("What was recognised as what", caption, counts, right, (rows, across))


def _most(mistakes: Counter, every: list[int]) -> list[int]:
    """All rows or columns where there is room for them, else those with the most mistakes; ascending."""
    if len(every) <= tables.MOST_DRAWN:
        return every
    return sorted(sorted(every, key=lambda i: -mistakes[i])[:tables.DRAWN_OF_MORE])


def decide(result: Result, truth: np.ndarray, none: int) -> tuple[np.ndarray, np.ndarray]:
    """What each draw makes of each clip, (R, Q): an enrolled class, or ``none`` for what is rejected; and the draws'
    thresholds, (R,), which a score must exceed, -inf without unknown clips."""
    unknown = truth == UNKNOWN
    if not unknown.any():
        return result.best, np.full(len(result.best), -np.inf)
    scores = -np.sort(-result.score[:, unknown], axis=1)
    thresholds = scores[:, accepted_at(PERCENT, int(unknown.sum()))]
    return np.where(result.score > thresholds[:, None], result.best, none), thresholds


def _mistakes(outcome: Enrolment, result: Result, decided: np.ndarray, thresholds: np.ndarray,
              goal: np.ndarray) -> Iterator[Mistake]:
    """Those in most draws first, then the surest."""
    wrong, test, train, drawn = decided != goal, outcome.test, outcome.train, outcome.drawn[:, :, :result.shots]
    found = []
    for q in np.flatnonzero(wrong.any(0)):
        for column in np.unique(decided[wrong[:, q], q]):
            draws = np.flatnonzero(decided[:, q] == column)
            found.append((len(draws), float(result.score[draws[0], q]), int(q), int(column), int(draws[0])))
    none = len(outcome.enrolled)  # of what is rejected, the least similar comes first
    for count, score, q, column, draw in sorted(found, key=lambda m: (-m[0], m[1] if m[3] == none else -m[1], m[2])):
        rows = drawn[draw].ravel()
        similar = train.vectors[rows] @ test.vectors[q]
        best = int(similar.argmax())
        values = [(count, f"{count}\u00a0of\u00a0{len(decided)}"), (score, f"{score:.3f}"),
                  *([(float(thresholds[draw]), f"{thresholds[draw]:.3f}")] if np.isfinite(thresholds[draw]) else []),
                  (float(similar[best]), f"{similar[best]:.3f}")]
        yield Mistake(int(test.labels[q]), column, tuple(values), clip_of(test.clips, int(test.rows[q]), "test"),
                      clip_of(train.clips, int(train.rows[rows[best]]), "train", labelled=True))
