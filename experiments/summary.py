"""The tables of a comparison: means over seeds, error against cross-entropy's, paired tests, words never heard."""

import shlex
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import accumulate

from data.base.errors import UserError
from experiments import cells
from experiments.cells import MARGINS, METHODS, OF_LOSS, Cell
from models.runs.options.training import LOSSES

SETTINGS = ("loss", "recipe", "augment", "fraction", "width", "data_probs", "shares", "mining", "margin", "extra")
FIGURES = {"accuracy": "accuracy", "auroc": "AUROC", "equal_error_rate": "equal-error rate",
           "accuracy_at_1_percent": "at 1 % FA", "accuracy_at_5_percent": "at 5 % FA"}
# Of the ways of scoring, those in the table beside the plain cosine, "embedding". compare.json has them all.
NORMALISED = ("embedding, t-norm", "whitened embedding", "whitened embedding, t-norm")


def mcnemar(a: str, b: str) -> tuple[int, int, float]:
    """Exact two-sided McNemar test of two results on the same clips, each a string of a digit a clip, 1 for right: how
    many only ``a`` has right, how many only ``b`` has, and how probable so uneven a split is by chance."""
    only_a = sum(x > y for x, y in zip(a, b, strict=True))
    only_b = sum(x < y for x, y in zip(a, b, strict=True))
    differ = only_a + only_b  # in whole numbers, for no library's sum of the binomials is exact at 1e-300
    ways = sum(accumulate(range(min(only_a, only_b)), lambda term, k: term * (differ - k) // (k + 1), initial=1))
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


def headings(names: Iterable[str]) -> list[str]:
    return [name.replace("_", " ") for name in names]


def shared(cell: Cell, names: Iterable[str], unused: dict) -> list[str]:
    """The settings that all cells have, in words, without those at a value that is not worth a word."""
    return [f"{name.replace('_', ' ')} {setting(cell, name)}" for name in names
            if setting(cell, name) and name != "extra" and getattr(cell, name, None) != unused.get(name, ...)]


def by_setting(runs: Iterable[dict]) -> dict[Cell, dict[int, dict]]:
    """Runs by cell, whose seed is 0, and by seed."""
    grouped = {}
    for run in runs:
        cell = cells.from_dict(run["cell"])
        grouped.setdefault(replace(cell, seed=0), {})[cell.seed] = run
    return grouped


def against_ce(cell: Cell, grouped: dict[Cell, dict[int, dict]]) -> tuple[float | None, list[tuple[int, int, float]]]:
    """Where cross-entropy was trained in a cell's setting with some of its seeds: the share of cross-entropy's mean
    error that is gone, None if there is none; and a McNemar test for each."""
    runs, baseline = grouped[cell], grouped.get(cell.of("ce"), {})
    pairs = [(runs[seed], baseline[seed]) for seed in sorted({*runs} & {*baseline}) if cell.method != "ce"]
    theirs = sum(1 - ce["accuracy"] for _, ce in pairs)
    reduction = 1 - sum(1 - run["accuracy"] for run, _ in pairs) / theirs if theirs else None
    return reduction, [mcnemar(run["right"], ce["right"]) for run, ce in pairs]


def markdown(runs: list[dict]) -> str:
    """A table of all settings and methods of one data set, and one of numbers of neighbours if several were tested.
    Raises ValueError for runs on different test sets, which have no mean.

    A vote goes by how frequent words are, a softmax trained on balanced batches does not: so the mean of the words'
    recalls stands beside the accuracy.
    """
    grouped = by_setting(runs)
    if len({run["test_set"] for run in runs}) > 1:
        raise ValueError("results on different test sets")
    kinds = sorted(grouped, key=order)
    varying = [name for name in SETTINGS if len({getattr(cell, name) for cell in kinds}) > 1]
    batches = len({(cell.batch_classes, cell.per_class) for cell in kinds}) > 1
    first = kinds[-1]
    alike = [f"batches of {first.batch_classes} classes x {first.per_class} clips"] * (not batches) + shared(
        first, [name for name in SETTINGS if name not in varying], {"loss": "triplet", "shares": ()})
    varying = ["batch"] * batches + varying
    columns = [name for name in varying if name != "loss"]  # which the method's title has
    ks = sorted({int(k) for run in runs for k in run.get("k", {})})
    by_method = [["model", "steps", *headings(columns), "method", "seeds", "accuracy %", "recall, mean of words %",
                  "macro-F1", "error against cross-entropy's", "only this right : only cross-entropy right",
                  "McNemar p, a seed"]]
    by_k = [["model", "steps", *headings(varying), *(f"k = {k}" for k in ks)]]
    for cell in kinds:
        seeds, (reduction, tests) = list(grouped[cell].values()), against_ce(cell, grouped)
        by_method.append([
            cell.model, str(cell.steps), *(setting(cell, name) for name in columns), cell.title, str(len(seeds)),
            spread([100 * run["accuracy"] for run in seeds]),
            spread([100 * statistics.mean(run["classes"].values()) for run in seeds]),
            spread([run["f1_macro"] for run in seeds], 4),
            "" if reduction is None else f"{-100 * reduction:+.0f} %",
            " : ".join(str(sum(test[i] for test in tests)) for i in range(2)) if tests else "",
            ", ".join(p_value(test[2]) for test in tests)])
        if voted := [run["k"] for run in seeds if "k" in run]:
            by_k.append([cell.model, str(cell.steps), *(setting(cell, name) for name in varying), *(
                spread([100 * of[str(k)] for of in voted if str(k) in of]) for k in ks)])
    lines = [f"{first.manifest}, {len(runs[0]['right']):,} test clips; {', '.join(alike)}. Mean ± standard deviation "
             f"over seeds. {_remarks(runs)}", "", *table(by_method), *heard(runs)]
    if len(ks) > 1:
        voted = {cell.title for cell in kinds if cell.method == "knn"}
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


def words_markdown(runs: Iterable[dict]) -> str:
    """A table of words never heard for each protocol, means over seeds, of each seed over the draws of enrolled clips;
    "" for none. Raises UserError for seeds of different data."""
    groups: dict[tuple, list[dict]] = {}
    for run in (run for run in runs if "shots" in run):  # of a table all were tested and looked at with the same clips
        groups.setdefault((run["cell"]["words"], tuple(run["clips"]), run.get("new_words_set")), []).append(run)
    return "\n".join(_of_protocol(groups[key]) for key in sorted(groups, key=str))


def _of_protocol(runs: list[dict]) -> str:
    grouped = by_setting(runs)
    kinds, looks = list(grouped), "looks" in runs[0]
    names = ("manifest", "model", "steps", "batch", *SETTINGS)
    varying = [name for name in names if len({setting(cell, name) for cell in kinds}) > 1]
    figures = {key: title for key, title in FIGURES.items() if any(key in one for run in runs for one in run["shots"])}
    found = [[*headings(varying), "seeds", *["AUROC of new words held out"] * looks, "clips enrolled", "scores",
              *figures.values()]]
    for cell in sorted(kinds, key=lambda cell: (cell.manifest, order(cell))):
        seeds, lines = list(grouped[cell].values()), {}
        if len({run["data"] for run in seeds}) > 1:
            raise UserError(f"{seeds[0]['name']}: the seeds were trained on different data, and have no mean")
        for one in (one for run in seeds for one in run["shots"]):
            lines.setdefault((one["scores"], one["shots"]), []).append(one)
        most = max(count for _, count in lines)
        for (scores, count), ones in lines.items():  # plain scores of all numbers of clips, normalised of the largest
            if scores == "embedding" or (scores in NORMALISED and count == most):
                found.append([*(setting(cell, name) for name in varying), str(len(ones)),
                              *[spread([100 * run["curve"][-1][2] for run in seeds])] * looks, str(count),
                              "plain" if scores == "embedding" else scores.removeprefix("embedding, "),
                              *(spread([100 * one[key] for one in ones]) for key in figures)])
    alike = shared(kinds[0], [name for name in names if name not in (*varying, "shares")], {})
    protocol, (known, unknown) = runs[0]["protocol"], runs[0]["clips"]
    enrolled, rejected = (", ".join(words) if len(words) <= 5 else f"{len(words)} words"
                          for words in (protocol["enroll"], protocol["unknown"]))
    about = (f"Words never heard, {runs[0]['cell']['words']}: {enrolled} enrolled, {known:,} test clips of them"
             + (f" and {unknown:,} to reject, of {rejected}" if unknown else "")
             + f"; means over {protocol['repeats']} draws of the enrolled clips"
             + (f", scores normalised by clips of {protocol['cohort'] or 'what each encoder was trained on'}"
                if any(one["scores"] != "embedding" for one in runs[0]["shots"]) else "") + ".")
    return "\n".join([f"{about} Encoders: {', '.join(alike)}. Per cent, mean ± standard deviation over seeds.", "",
                      *table(found), *heard(runs)]) + "\n"
