"""From the results of cells to a table: means over seeds, error against cross-entropy's, and paired tests."""

import shlex
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace

from experiments import cells
from experiments.cells import METHODS, Cell
from models.runs.options.loss import LOSSES

SETTINGS = ("loss", "recipe", "augment", "fraction", "width", "embedding_size", "data_probs", "shares", "mining",
            "margin", "extra")


def mcnemar(a: str, b: str) -> tuple[int, int, float]:
    """Exact two-sided McNemar test of two results on the same clips, each a string of a digit a clip, 1 for right.

    Returns:
        clips that only ``a`` has right, clips that only ``b`` has, and the probability of so uneven a split if each
        clip is as likely to be the one's as the other's.
    """
    from numpy import arange, exp, log
    from scipy.special import logsumexp
    from scipy.stats import binom, binomtest

    only_a = sum(x > y for x, y in zip(a, b, strict=True))
    only_b = sum(x < y for x, y in zip(a, b, strict=True))
    differ = only_a + only_b
    p = float(binomtest(only_a, differ).pvalue) if differ else 1.0
    if p < 1e-200:  # of some sums that a float holds, from 1e-281 on, binomtest makes 0; logarithms do not
        p = float(exp(log(2) + logsumexp(binom.logpmf(arange(min(only_a, only_b) + 1), differ, 0.5))))
    return only_a, only_b, p


def p_value(p: float) -> str:
    """A probability in two digits; "below" is one that a float is too coarse for."""
    return f"{p:.2g}" if p >= 1e-307 else "below 1e-307"


def rows(runs: Iterable[dict]) -> list[dict]:
    """A row for each setting and method, with the figures of its seeds.

    ``cell`` is the row's, ``runs`` are by seed. Where cross-entropy was trained in the same setting with some of the
    seeds, ``reduction`` is the share of its mean error that is gone, and ``tests`` has a McNemar test for each.

    Raises:
        ValueError: runs on different test sets, which have no mean.
    """
    runs = list(runs)
    tested = {(run["cell"]["manifest"], run["test_set"]) for run in runs}
    if len(tested) > len({manifest for manifest, _ in tested}):
        raise ValueError("results on different test sets of one data set")
    grouped: dict[Cell, dict[int, dict]] = {}
    for run in runs:
        cell = cells.from_dict(run["cell"])
        grouped.setdefault(cell.row(), {})[cell.seed] = run
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


def side_by_side(found: list[dict], model: str) -> dict[str, list[dict]]:
    """By setting, the rows of a model that belong in one picture: whatever their steps, with cross-entropy's.

    A setting is named by its batches and what is not the default. Those of one method alone are left out, unless there
    is no other: then the one with most rows is what there is to show.
    """
    own = [row for row in found if row["cell"].model == model]
    settings = {"-".join(of["cell"].setting): [row for row in own if _same_setting(row["cell"], of["cell"])]
                for of in own}
    several = {name: shown for name, shown in settings.items() if len({row["cell"].method for row in shown}) > 1}
    if several:
        return several
    name = max(settings, key=lambda name: len(settings[name]))
    return {name: settings[name]}


def _same_setting(cell: Cell, other: Cell) -> bool:
    """But for steps and method; cross-entropy, which has no triplets, is in the setting of all that else agree."""
    return cell in (replace(other.of(cell.method), steps=cell.steps), replace(other, steps=cell.steps))


def markdown(runs: list[dict]) -> str:
    """The tables: one of all rows, and one of numbers of neighbours if several were tested.

    The mean of the words' recalls stands beside the accuracy because neighbours vote by how often a word is among the
    training clips, while a softmax that batches of equally many clips a word have trained knows no word as more
    frequent: where words are unequally frequent, accuracy alone favours the vote.
    """
    found = rows(runs)
    if not found:
        return "no results yet\n"
    varying = [name for name in SETTINGS if len({getattr(row["cell"], name) for row in found}) > 1]
    batches = {(row["cell"].batch_classes, row["cell"].per_class) for row in found}
    ks = sorted({int(k) for run in runs for k in run.get("k", {})})
    lines = [_describe(found, varying, batches)]
    if len(batches) > 1:
        varying = ["batch", *varying]
    settings = [name for name in varying if name != "loss"]  # which the method's title has
    by_method = [["model", "steps", *(name.replace("_", " ") for name in settings), "method", "seeds", "accuracy %",
                  "recall, mean of words %", "macro-F1", "error against cross-entropy's",
                  "only this right : only cross-entropy right", "McNemar p, a seed"]]
    by_neighbours = [["model", "steps", *(name.replace("_", " ") for name in varying), *(f"k = {k}" for k in ks)]]
    for row in found:
        cell, of_seeds = row["cell"], list(row["runs"].values())
        first = [cell.model, str(cell.steps)]
        by_method.append([*first, *(setting(cell, name) for name in settings), cell.title, str(len(of_seeds)),
                          spread([100 * run["accuracy"] for run in of_seeds], 2),
                          spread([100 * statistics.mean(run["classes"].values()) for run in of_seeds], 2),
                          spread([run["f1_macro"] for run in of_seeds], 4),
                          f"{-100 * row['reduction']:+.0f} %" if "reduction" in row else "",
                          *_tests(row.get("tests", []))])
        voted = [run["k"] for run in of_seeds if "k" in run]
        if voted:
            by_neighbours.append([*first, *(setting(cell, name) for name in varying), *(
                spread([100 * of[str(k)] for of in voted if str(k) in of], 2) for k in ks)])
    lines += ["", *table(by_method), *heard(runs)]
    if len(ks) > 1:
        voted = {row["cell"].title for row in found if row["cell"].method == "knn"}
        of = voted.pop() if len(voted) == 1 else "kNN"
        lines += ["", f"Accuracy of {of} by the number of neighbours, %:", "", *table(by_neighbours)]
    return "\n".join(lines) + "\n"


def heard(runs: Sequence[dict]) -> list[str]:
    """What a reader must know where test clips or speakers were trained on."""
    clips, speakers = (max(run.get(key, 0) for run in runs) for key in (
        "test_clips_trained_on", "test_speakers_trained_on"))
    return ["", f"Up to {clips:,} of the test clips and {speakers:,} of their speakers were in the training of an "
                "encoder here."] if clips or speakers else []


def setting(cell: Cell, name: str) -> str:
    """A field of a cell, or its batch, in words; what cross-entropy has none of is left blank."""
    if name == "batch":
        return f"{cell.batch_classes} x {cell.per_class}"
    value = getattr(cell, name)
    if (name in cells.OF_LOSS and cell.method == "ce") or (name in ("mining", "margin")
                                                           and name not in LOSSES[cell.loss]):
        return ""
    if name == "embedding_size":
        return str(value or cell.width)
    if name == "shares":
        return " : ".join(f"{share:g}" for share in value) or "none"
    if name == "loss":
        return value.replace("_", " ")
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)


def spread(values: list[float], digits: int) -> str:
    """Mean ± standard deviation over seeds; of one seed, its value."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def order(cell: Cell):
    """By model and setting, the default one first, then by steps and method."""
    usual = {field.name: field.default for field in fields(Cell)}
    changed = [(name, str(getattr(cell, name))) for name in SETTINGS if getattr(cell, name) != usual[name]]
    return cell.model, cell.batch_classes, cell.per_class, changed, cell.steps, METHODS.index(cell.method)


def _tests(tests: list[tuple[int, int, float]]) -> list[str]:
    if not tests:
        return ["", ""]
    only_this, only_other = (sum(test[i] for test in tests) for i in range(2))
    return [f"{only_this} : {only_other}", ", ".join(p_value(test[2]) for test in tests)]


def _describe(found: list[dict], varying: list[str], batches: set[tuple[int, int]]) -> str:
    """What all rows share, in a sentence."""
    cell = found[-1]["cell"]
    unused = {"loss": "triplet", "embedding_size": None, "shares": ()}
    shared = [f"{name.replace('_', ' ')} {setting(cell, name)}" for name in SETTINGS
              if name not in varying and setting(cell, name) and name != "extra"
              and getattr(cell, name) != unused.get(name, ...)]
    if len(batches) == 1:
        shared.insert(0, "batches of {} classes x {} clips".format(*next(iter(batches))))
    clips = {len(run["right"]) for row in found for run in row["runs"].values()}
    voted = [run.get("ties", "lowest") for row in found for run in row["runs"].values()
             if row["cell"].method == "knn"]  # the original's rule, before results said which
    ties = f" Ties of the vote went to the lowest label in {voted.count('lowest')} of {len(voted)} kNN results, to " \
           "the nearest neighbour's in the others." if len(set(voted)) > 1 else ""
    return (f"{cell.manifest}, {'/'.join(f'{n:,}' for n in sorted(clips))} test clips; {', '.join(shared)}. "
            f"Mean ± standard deviation over seeds. {_chance(found)}{ties}{_in_bf16(found)}")


def _chance(found: list[dict]) -> str:
    """What the number of test clips allows to tell: of the best run, Wilson's interval of 95 %."""
    from scipy.stats import binomtest

    best = max((run["right"] for row in found for run in row["runs"].values()),
               key=lambda right: right.count("1") / len(right))
    right, clips = best.count("1"), len(best)
    interval = binomtest(right, clips).proportion_ci(method="wilson")
    return (f"A test clip is {100 / clips:.2f} %; the best run's {100 * right / clips:.2f} % has a 95 % interval of "
            f"{100 * interval.low:.2f} to {100 * interval.high:.2f} % (Wilson).")


def _in_bf16(found: list[dict]) -> str:
    """How many results were trained in another precision than the others; "" for none."""
    runs = [run for row in found for run in row["runs"].values()]
    half = sum("--precision=bf16" in shlex.split(run.get("commands", [""])[0]) for run in runs)
    return f" {half} of {len(runs)} results were trained in bf16." if half else ""


def table(rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]
