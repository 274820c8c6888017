"""The page of a test in which every clip gets one class: by its nearest training clips, or by a head."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from data.dataset import Clips
from data.manifests.manifest import Manifest
from models.report.page.origin import notes_of, origin_rows
from models.report.page.parts import Clip, Matrix, Mistake, Page, Picture, Table
from models.report.tables import cells_by_k, drawn_classes, headline

CLASSES = 200  # in the table of classes
VOTED = 5  # classes whose votes are shown

# Of the q-th test clip, what to sort by and what to show.
Value = Callable[[int], tuple[float, str]]


def page_of_clips(stem: str, result: dict, test: Clips, predicted: np.ndarray, train: Clips, nearest: np.ndarray,
                  distances: np.ndarray, sure: np.ndarray, values: dict[str, Value], pictures: Sequence[Picture],
                  notes: Sequence[str] = ()) -> Page:
    """A page of the figures that `models.report.tables.report` printed.

    Args:
        result: what that returned.
        predicted: (Q,) classes.
        nearest, distances: (Q,) of each test clip its nearest train clip and their squared distance.
        sure: (Q,) how sure a prediction is; of mistakes of one kind the surest come first.
        values: further columns of the mistakes, by heading.
        notes: what was printed and a reader of the figures must know.
    """
    labels, truth = test.manifest.labels, test.manifest.label
    names, said = dict(enumerate(labels)), headline(result)
    wrong = np.flatnonzero(truth != predicted)
    shown, caption = drawn_classes(len(labels), truth, predicted,
                                   "Clips of each class (rows), by what they were taken for (columns)")
    columns = {"nearest, squared distance": lambda q: (float(distances[q]), f"{distances[q]:.3f}")} | values
    mistakes = [Mistake(int(truth[q]), int(predicted[q]), tuple(value(q) for value in columns.values()),
                        clip_of(test, q, "test"), clip_of(train, int(nearest[q]), "train", labelled=True))
                for q in wrong[np.argsort(-sure[wrong], kind="stable")]]
    return Page(
        stem, f"{len(truth):,} test clips of {len(result['classes'])} classes: how well {stem} recognises them.",
        [("accuracy, %", said["accuracy"]),
         (f"macro-F1 of {result['f1_classes']:,} classes that clips have or are taken for", said["f1_macro"]),
         ("clips right", said["right"])],
        {"clip": "clip", "row": "label", "column": "prediction", "values": list(columns),
         "nearest": "nearest training clip"}, names, names,
        Matrix("What was taken for what", caption.replace("\n", "; "), _counts(truth, predicted),
               {c: c for c in names}, (shown.tolist(), shown.tolist())),
        mistakes, origin_rows(result, {"test": test, "train": train}), [*notes_of(result["facts"]), *notes],
        _tables(result),
        list(pictures), "", f"{stem}.csv")


def votes(train: Manifest, neighbours: np.ndarray) -> Value:
    """Of a clip how its neighbours vote, (Q, k) rows of the train clips; sorted by how many are for the most frequent.
    """
    def said(q: int) -> tuple[float, str]:
        counts = Counter(train.labels[c] for c in train.label[neighbours[q]]).most_common()
        return float(counts[0][1]), ", ".join([*(f"{count} {label}" for label, count in counts[:VOTED]),
                                               *["..."] * (len(counts) > VOTED)])
    return said


def clip_of(clips: Clips, row: int, split: str, labelled: bool = False) -> Clip:
    """A clip as the encoder heard it, without what was added to make it as long as the others."""
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


def _counts(truth: np.ndarray, predicted: np.ndarray) -> dict[tuple[int, int], int]:
    return dict(Counter(zip(truth.tolist(), predicted.tolist(), strict=True)))


def _tables(result: dict) -> list[Table]:
    worst = sorted(result["classes"], key=lambda c: (c["accuracy"], -c["clips"]))
    title = "Classes, the worst first" + f"; {CLASSES} of {len(worst):,}" * (len(worst) > CLASSES)
    tables = [Table(title, [("class", "accuracy, %", "right", "clips"), *(
        (c["label"], f"{100 * c['accuracy']:.2f}", f"{c['correct']:,}", f"{c['clips']:,}") for c in worst[:CLASSES])])]
    if "by_k" in result:
        tables.insert(0, Table("By the number of neighbours that vote; all else on this page is of the first",
                               cells_by_k(result["by_k"])))
    return tables
