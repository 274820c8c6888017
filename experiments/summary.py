"""The tables of a comparison: means over seeds, error against cross-entropy's, paired tests."""

import shlex
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace

from experiments import cells
from experiments.cells import MARGINS, METHODS, OF_LOSS, Cell
from models.runs.options.loss import LOSSES

SETTINGS = ("loss", "recipe", "augment", "fraction", "width", "data_probs", "shares", "mining", "margin", "extra")


def mcnemar(a: str, b: str) -> tuple[int, int, float]:
    """Exact two-sided McNemar test of two results on the same clips, each a string of a digit a clip, 1 for right: how
    many only ``a`` has right, how many only ``b`` has, and how probable so uneven a split is by chance."""
    only_a = sum(x > y for x, y in zip(a, b, strict=True))
    only_b = sum(x < y for x, y in zip(a, b, strict=True))
    differ, ways, term = only_a + only_b, 0, 1
    for k in range(min(only_a, only_b) + 1):  # in whole numbers: no library's sum is exact at 1e-300
        ways += term
        term = term * (differ - k) // (k + 1)
    return only_a, only_b, min(1.0, 2 * ways / 2 ** differ)


def p_value(p: float) -> str:
    """A probability in two digits; "below" is one that a float is too coarse for."""
    return f"{p:.2g}" if p >= 1e-307 else "below 1e-307"


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean ± standard deviation over seeds; of one seed, its value."""
    mean = f"{statistics.mean(values):.{digits}f}" if values else ""
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def table(rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def order(cell: Cell) -> tuple:
    """By model and setting, the default one first, then by steps and method."""
    changed = [(name, str(getattr(cell, name))) for name in SETTINGS if getattr(cell, name) != getattr(Cell, name)]
    return cell.model, cell.batch_classes, cell.per_class, changed, cell.steps, METHODS.index(cell.method)


def setting(cell: Cell, name: str) -> str:
    """A field of a cell, or its batch, in words; blank for what its method or loss does not take."""
    if name == "batch":
        return f"{cell.batch_classes} x {cell.per_class}"
    value = getattr(cell, name)
    if (name in OF_LOSS and cell.method == "ce") or (name == "margin" and cell.loss not in MARGINS) or (
            name == "mining" and name not in LOSSES.get(cell.loss, ())):
        return ""
    if name == "shares":
        return " : ".join(f"{share:g}" for share in value) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(value)
    return value.replace("_", " ") if name == "loss" else f"{value:g}" if isinstance(value, float) else str(value)


def shared(cell: Cell, names: Iterable[str], unused: dict) -> list[str]:
    """The settings that all cells have, in words, without those at a value that is not worth a word."""
    return [f"{name.replace('_', ' ')} {setting(cell, name)}" for name in names
            if setting(cell, name) and name != "extra" and getattr(cell, name, None) != unused.get(name, ...)]


def rows(runs: Iterable[dict]) -> list[dict]:
    """A row for each setting and method: its ``cell``, its ``runs`` by seed. Where cross-entropy was trained in the
    same setting with some of the seeds, ``reduction`` is the share of its mean error that is gone, and ``tests`` has a
    McNemar test for each. Raises ValueError for runs on different test sets, which have no mean."""
    grouped: dict[Cell, dict[int, dict]] = {}
    for run in runs:
        cell = cells.from_dict(run["cell"])
        grouped.setdefault(replace(cell, seed=0), {})[cell.seed] = run
    if len({run["test_set"] for of_seeds in grouped.values() for run in of_seeds.values()}) > 1:
        raise ValueError("results on different test sets")
    found = []
    for cell in sorted(grouped, key=order):
        row = {"cell": cell, "runs": grouped[cell]}
        baseline = grouped.get(cell.of("ce"), {})
        paired = sorted(set(row["runs"]) & set(baseline))
        if cell.method != "ce" and paired:
            ours, theirs = ([1 - of[seed]["accuracy"] for seed in paired] for of in (row["runs"], baseline))
            if sum(theirs):
                row["reduction"] = 1 - sum(ours) / sum(theirs)
            row["tests"] = [mcnemar(row["runs"][seed]["right"], baseline[seed]["right"]) for seed in paired]
        found.append(row)
    return found


def markdown(runs: list[dict]) -> str:
    """A table of all settings and methods of one data set, and one of numbers of neighbours if several were tested.

    A vote goes by how frequent words are, a softmax trained on balanced batches does not: so the mean of the words'
    recalls stands beside the accuracy.
    """
    found = rows(runs)
    varying = [name for name in SETTINGS if len({getattr(row["cell"], name) for row in found}) > 1]
    batches = len({(row["cell"].batch_classes, row["cell"].per_class) for row in found}) > 1
    first = found[-1]["cell"]
    alike = [f"batches of {first.batch_classes} classes x {first.per_class} clips"] * (not batches) + shared(
        first, [name for name in SETTINGS if name not in varying], {"loss": "triplet", "shares": ()})
    varying = ["batch"] * batches + varying
    columns = [name for name in varying if name != "loss"]  # which the method's title has
    ks = sorted({int(k) for run in runs for k in run.get("k", {})})
    by_method = [["model", "steps", *(name.replace("_", " ") for name in columns), "method", "seeds", "accuracy %",
                  "recall, mean of words %", "macro-F1", "error against cross-entropy's",
                  "only this right : only cross-entropy right", "McNemar p, a seed"]]
    by_k = [["model", "steps", *(name.replace("_", " ") for name in varying), *(f"k = {k}" for k in ks)]]
    for row in found:
        cell, seeds, tests = row["cell"], list(row["runs"].values()), row.get("tests", [])
        by_method.append([
            cell.model, str(cell.steps), *(setting(cell, name) for name in columns), cell.title, str(len(seeds)),
            spread([100 * run["accuracy"] for run in seeds]),
            spread([100 * statistics.mean(run["classes"].values()) for run in seeds]),
            spread([run["f1_macro"] for run in seeds], 4),
            f"{-100 * row['reduction']:+.0f} %" if "reduction" in row else "",
            " : ".join(str(sum(test[i] for test in tests)) for i in range(2)) if tests else "",
            ", ".join(p_value(test[2]) for test in tests)])
        if voted := [run["k"] for run in seeds if "k" in run]:
            by_k.append([cell.model, str(cell.steps), *(setting(cell, name) for name in varying), *(
                spread([100 * of[str(k)] for of in voted if str(k) in of]) for k in ks)])
    lines = [f"{first.manifest}, {len(runs[0]['right']):,} test clips; {', '.join(alike)}. Mean ± standard deviation "
             f"over seeds. {_remarks(runs)}", "", *table(by_method), *heard(runs)]
    if len(ks) > 1:
        voted = {row["cell"].title for row in found if row["cell"].method == "knn"}
        of = voted.pop() if len(voted) == 1 else "kNN"
        lines += ["", f"Accuracy of {of} by the number of neighbours, %:", "", *table(by_k)]
    return "\n".join(lines) + "\n"


def _remarks(runs: list[dict]) -> str:
    """What the number of test clips allows to tell, and how many results had another precision."""
    from scipy.stats import binomtest

    right, clips = max(((run["right"].count("1"), len(run["right"])) for run in runs), key=lambda of: of[0] / of[1])
    interval = binomtest(right, clips).proportion_ci(method="wilson")
    text = (f"A test clip is {100 / clips:.2f} %; the best run's {100 * right / clips:.2f} % has a 95 % interval of "
            f"{100 * interval.low:.2f} to {100 * interval.high:.2f} % (Wilson).")
    half = sum("--precision=bf16" in shlex.split(run["commands"][0]) for run in runs)
    return text + (f" {half} of {len(runs)} results were trained in bf16." if half else "")


def heard(runs: Sequence[dict]) -> list[str]:
    """A line where test clips or speakers were trained on."""
    clips, speakers = (max(run.get(f"test_{what}_trained_on", 0) for run in runs) for what in ("clips", "speakers"))
    return ["", f"Up to {clips:,} of the test clips and {speakers:,} of their speakers were in the training of an "
                "encoder here."] if clips or speakers else []
