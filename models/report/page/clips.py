"""The page of a test in which every clip gets one class: by its nearest training clips, or by a head."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from data.dataset import Clips
from data.manifests.manifest import Manifest
from models.neighbours.knn import Prediction
from models.report.outcome import Outcome
from models.report.page.origin import notes_of, origin_rows
from models.report.page.parts import Clip, Matrix, Mistake, Page, Table, named
from models.report.tables import cells_by_k, count_predictions, drawn_classes, headline, worst_first

CLASSES = 200  # in the table of classes
VOTED = 5  # classes whose votes are shown


def page_of_clips(outcome: Outcome, result: dict, test: Clips, train: Clips, nearest: Prediction,
                  pictures: dict[str, bytes], notes: Sequence[str] = ()) -> Page:
    """A page of the figures that `models.report.tables.report` printed, whose ``result`` this is; of mistakes of a
    kind, the surest come first. ``nearest`` are train clips of each test clip."""
    labels, truth, predicted = test.manifest.labels, test.manifest.label, outcome.predicted
    names, first = dict(enumerate(labels)), headline(result)
    wrong, distances = np.flatnonzero(truth != predicted), nearest.distances[:, 0]
    shown, caption = drawn_classes(truth, predicted,
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
               count_predictions(truth, predicted), {c: c for c in names}, (shown.tolist(), shown.tolist())),
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


def _tables(result: dict) -> list[Table]:
    worst = worst_first(result)
    by_k = [Table("By the number of neighbours that vote; all else on this page is of the first",
                  cells_by_k(result["by_k"]))] if "by_k" in result else []
    return [*by_k, Table(
        "Classes, the worst first" + f"; {CLASSES} of {len(worst):,}" * (len(worst) > CLASSES),
        [("class", "accuracy, %", "right", "clips"), *(
            (c["label"], f"{100 * c['accuracy']:.2f}", f"{c['correct']:,}", f"{c['clips']:,}")
            for c in worst[:CLASSES])])]
