"""What a test leaves: figures on the terminal, and under the run's folder JSON, CSV and a confusion matrix's picture.

Accuracy is the share of clips whose prediction is right. Macro-F1 is scikit-learn's: the mean over the classes that
test clips have or are taken for, so that a class without test clips, but with wrong predictions, counts with F1 = 0.
The figures of each class are over those that have test clips.
"""

import csv
import io
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from data.base.files import write_atomically
from data.base.labels import visible
from models.report.outcome import Outcome
from models.runs.checkpoints import versions

WORST, PAIRS = 5, 5  # shown on the terminal; the files have all of them
MOST_DRAWN, DRAWN_OF_MORE = 60, 40  # classes in a picture: all of them up to the first, else the second
LONGEST = 24  # characters of a name in a picture


def report(out: Path, outcome: Outcome) -> dict:
    """Print the figures of a test and write ``<stem>.json``, ``<stem>.csv`` and ``<stem>-confusion.png`` into ``out``.
    Returns what is in the JSON."""
    tested, predicted = outcome.tested, outcome.predicted
    labels, truth = tested.labels, tested.label
    result = figures(labels, truth, predicted)
    print(summary(result))
    if outcome.by_k and len(outcome.by_k) > 1:
        result["by_k"] = [{"k": k, "accuracy": float(np.mean(found == truth)), "correct": int(np.sum(found == truth)),
                           "clips": len(truth)} for k, found in outcome.by_k.items()]
        print("by the number of neighbours that vote, the figures above being of the first:")
        print(markdown(cells_by_k(result["by_k"]), "right"))
    result |= {"pairs": outcome.pairs} if outcome.pairs else {}
    result |= {"facts": outcome.facts, "command": outcome.command}
    picture = draw_confusion(labels, truth, predicted, f"{outcome.stem}: accuracy {100 * result['accuracy']:.2f} %")
    return write_report(out, outcome.stem, result, _rows(outcome), {"confusion": picture})


def write_report(out: Path, stem: str, content: dict, rows: Iterable[Sequence] = (),
                 pictures: Mapping[str, bytes] | None = None) -> dict:
    """Write ``content`` and versions as ``<stem>.json``, ``rows`` as ``<stem>.csv``, and PNGs as ``<stem>-<name>.png``.
    Returns what is in the JSON."""
    content = content | {"versions": versions()}
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    files = {f"{stem}.json": to_json(content) + "\n", f"{stem}.csv": table.getvalue()}
    files |= {f"{stem}-{name}.png": picture for name, picture in (pictures or {}).items()}
    for name, made in files.items():
        if made:
            with write_atomically(Path(out) / name, "w" if isinstance(made, str) else "wb") as file:
                file.write(made)
    print("wrote", Path(out) / ", ".join(name for name, made in files.items() if made))
    return content


def cells_by_k(rows: Sequence[dict]) -> list[tuple[str, ...]]:
    """The cells of a table of accuracy, per cent, by the number of neighbours, its headings in the first row."""
    return [("k", "accuracy", "right"), *((str(row["k"]), f"{100 * row['accuracy']:.2f}",
                                           f"{row['correct']:,} of {row['clips']:,}") for row in rows)]


def save_arrays(out: Path, stem: str, **arrays: np.ndarray) -> None:
    """Write every array as ``<out>/<stem>-<name>.npy``, and print that."""
    for name, array in arrays.items():
        with write_atomically(Path(out) / f"{stem}-{name}.npy", "wb") as file:
            np.save(file, array, allow_pickle=False)
    print("wrote " + ", ".join(f"{Path(out) / stem}-{name}.npy {array.shape}" for name, array in arrays.items()))


def figures(labels: Sequence[str], truth: np.ndarray, predicted: np.ndarray) -> dict:
    """The figures of a test as plain numbers, strings, lists and dicts; shares are 0 to 1. ``classes`` has one entry
    for every class with a test clip, ``confused_pairs`` every kind of error, the most frequent first, and
    ``confusion[true][predicted]`` every count that is not zero."""
    from sklearn.metrics import f1_score

    support, right = (np.bincount(rows, minlength=len(labels)) for rows in (truth, truth[truth == predicted]))
    pairs = count_predictions(truth, predicted)
    confusion: dict[str, dict[str, int]] = {}
    for (true, guess), count in pairs.items():
        confusion.setdefault(labels[true], {})[labels[guess]] = count
    return {
        "accuracy": float(np.mean(truth == predicted)),
        "f1_macro": float(f1_score(truth, predicted, average="macro", zero_division=0)),
        "f1_classes": len(np.union1d(truth, predicted)),
        "clips": len(truth), "correct": int(right.sum()), "labels": len(labels),
        "classes": [{"label": labels[c], "accuracy": float(right[c] / support[c]), "correct": int(right[c]),
                     "clips": int(support[c])} for c in np.flatnonzero(support)],
        "confused_pairs": [{"label": labels[true], "prediction": labels[guess], "clips": pairs[true, guess]}
                           for true, guess in _errors(pairs)],
        "confusion": confusion}


def worst_first(result: dict) -> list[dict]:
    """The classes of `figures`, those of least accuracy first."""
    return sorted(result["classes"], key=lambda c: (c["accuracy"], -c["clips"]))


def headline(result: dict) -> dict[str, str]:
    """The figures that come first, as texts: accuracy (per cent), f1_macro, and how many clips are right."""
    return {"accuracy": f"{100 * result['accuracy']:.2f}", "f1_macro": f"{result['f1_macro']:.4f}",
            "right": f"{result['correct']:,} of {result['clips']:,}"}


def summary(result: dict) -> str:
    """The figures for the terminal: accuracy, macro-F1, the worst classes and the most confused pairs."""
    first = headline(result)
    lines = [f"Accuracy: {first['accuracy']}", f"f1_macro {first['f1_macro']}", f"{first['right']} clips right"]
    if len(result["classes"]) < result["labels"]:
        lines[-1] += f"; the test set has clips of {len(result['classes'])} of the {result['labels']} classes"
    if result["f1_classes"] > len(result["classes"]):
        lines[-1] += f"; f1_macro is over the {result['f1_classes']} that they have or are taken for"
    worst = worst_first(result)[:WORST]
    width = max(len(visible(c["label"])) for c in worst)
    lines.append("worst classes:")
    lines += [f"  {visible(c['label']):{width}}  {100 * c['accuracy']:6.2f}  ({c['correct']}/{c['clips']})"
              for c in worst]
    if result["confused_pairs"]:
        lines.append("most confused (true -> predicted, clips):")
        lines += [f"  {visible(p['label'])} -> {visible(p['prediction'])} {p['clips']}"
                  for p in result["confused_pairs"][:PAIRS]]
    return "\n".join(lines)


def draw_confusion(labels: Sequence[str], truth: np.ndarray, predicted: np.ndarray, title: str) -> bytes:
    """The confusion matrix of `drawn_classes` as a PNG: colour is the share of a true class's clips."""
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state
    from sklearn.metrics import confusion_matrix

    shown, title = drawn_classes(truth, predicted, title)
    matrix = confusion_matrix(truth, predicted, labels=shown)
    shares = matrix / np.maximum(np.bincount(truth, minlength=len(labels))[shown], 1)[:, None]
    names = short_names(labels[c] for c in shown)
    side = max(0.34 if len(shown) > 12 else 0.5, 3 / len(shown))  # inches of a cell
    with quietly():
        figure = Figure(figsize=(1, 1))  # axes are placed in inches; saving takes in all that is drawn around them
        axes = figure.add_axes((0, 0, side * len(shown), side * len(shown)))
        # The square root keeps an error of one in a hundred visible.
        axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
        upright = max(map(len, names)) * 0.09 > side
        for axis, rotation in ((axes.xaxis, 90 if upright else 0), (axes.yaxis, 0)):
            axis.set_ticks(np.arange(len(names)), names, rotation=rotation, fontsize=9, parse_math=False)
        axes.tick_params(length=0)
        size = min(8.0, 0.9 * 72 * side / (0.62 * len(str(matrix.max()))))  # the longest count fits its cell
        for t, p in np.argwhere(matrix):
            axes.text(p, t, str(matrix[t, p]), ha="center", va="center", fontsize=size,
                      color="white" if shares[t, p] > 0.35 else "black")
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title("\n".join(map(visible, title.split("\n"))), fontsize=11, pad=10, parse_math=False)
        return png(figure)


def drawn_classes(truth: np.ndarray, predicted: np.ndarray, title: str) -> tuple[np.ndarray, str]:
    """The classes that a picture has room for, and its title, which says so if these are not all that occur."""
    ranked = ranked_by_confusion(truth, predicted)
    if len(ranked) <= MOST_DRAWN:
        return np.sort(ranked), title
    return (np.sort(ranked[:DRAWN_OF_MORE]),
            f"{title}\nthe {DRAWN_OF_MORE} of {len(ranked):,} classes with the most frequent confusions")


def ranked_by_confusion(truth: np.ndarray, predicted: np.ndarray) -> list[int]:
    """All classes that occur, both sides of the most frequent confusions first."""
    wrong = _errors(count_predictions(truth, predicted))
    return list(dict.fromkeys([*(c for pair in wrong for c in pair), *np.union1d(truth, predicted).tolist()]))


def count_predictions(truth: np.ndarray, predicted: np.ndarray) -> dict[tuple[int, int], int]:
    """How often each (true, predicted) pair of classes occurs, sorted by true, then predicted class."""
    return dict(sorted(Counter(zip(truth.tolist(), predicted.tolist(), strict=True)).items()))


def _errors(pairs: dict[tuple[int, int], int]) -> list[tuple[int, int]]:
    """The pairs that are errors, the most frequent first, equally frequent ones in the order of the labels."""
    return sorted(((true, guess) for true, guess in pairs if true != guess), key=lambda pair: -pairs[pair])


def _rows(outcome: Outcome) -> Iterator[list]:
    """The CSV's lines: every clip with its label, its prediction and how sure that is."""
    tested, labels, cut = outcome.tested, outcome.tested.labels, bool(outcome.tested.offset.any())
    sure, heading = (outcome.scores[:, None], "probability") if outcome.distances is None else \
        (outcome.distances, "squared_distance")
    headings = [heading] if outcome.distances is None else [f"{heading}_{i + 1}" for i in range(sure.shape[1])]
    yield ["path", *["offset"] * cut, "label", "prediction", *headings]
    for i in range(len(tested)):
        yield [tested.files[tested.file[i]], *[f"{tested.offset[i]:.6f}"] * cut, labels[tested.label[i]],
               labels[outcome.predicted[i]], *(f"{value:.6f}" for value in sure[i])]


def to_json(result: dict) -> str:
    return json.dumps(result, indent=2, ensure_ascii=False, default=lambda value: value.tolist() if isinstance(
        value, np.generic | np.ndarray) else str(value))


def short_names(labels: Iterable[str]) -> list[str]:
    """Names for a picture: of more than 24 characters, the beginning."""
    return [name if len(name) <= LONGEST else name[:LONGEST - 1] + "…" for name in map(visible, labels)]


@contextmanager
def quietly() -> Iterator[None]:
    """Draw without a word on scripts that the font lacks or that go from right to left; the JSON has the names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        warnings.filterwarnings("ignore", "Matplotlib currently does not support")
        yield


def markdown(rows: Sequence[Sequence[str]], first: str = "left") -> str:
    """Rows of cells, the first being the head, as a Markdown table; ``first`` is how the first column is aligned."""
    from tabulate import tabulate

    return tabulate(rows, "firstrow", "pipe", disable_numparse=True, colalign=[first] + ["right"] * (len(rows[0]) - 1))


def png(figure) -> bytes:
    """A figure, and all that is drawn around its axes."""
    data = io.BytesIO()
    with quietly():
        figure.savefig(data, format="png", dpi=130, bbox_inches="tight", pad_inches=0.15)
    return data.getvalue()
