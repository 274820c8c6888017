"""What a test of enrolled words leaves: a table on the terminal, and JSON, CSV and detection-error curve as files."""

import csv
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np

from data.base.files import write_atomically
from data.base.labels import folded, visible
from data.base.messages import first_few
from models.enrolment.enrol import BOTH, NEAREST, PERCENTS, UNKNOWN, Result, accepted_at, misses
from models.report.drawing import markdown, png
from models.report.outcome import Enrolment
from models.report.tables import to_json
from models.runs.provenance import known_words
from models.runs.versions import versions

HEADINGS = {"accuracy": "accuracy", "auroc": "AUROC", "equal_error_rate": "equal-error rate",
            **{f"accuracy_at_{percent}_percent": f"accuracy at {percent} % FA" for percent in PERCENTS}}
TICKS = np.array([0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 40, 60, 80, 90, 95, 98, 99, 99.9, 99.99, 99.999]) / 100
_NAMED = 10  # words in a line
_ANYTHING = {"unknown", "silence", "noise", "background", "other", "others"}  # words, and names of classes of no word
_STYLES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 3)), (0, (7, 2, 1, 2, 1, 2)))  # as many as methods drawn


def report_enrolment(out: Path, outcome: Enrolment) -> dict:
    """Print a table and write ``<stem>.json``, ``<stem>.csv`` and, with unknown clips, ``<stem>-det.png`` into ``out``.

    Returns:
        What the JSON holds.

    Raises:
        UserError: ``out`` cannot be written. The table has been printed by then.
    """
    results, truth, facts = outcome.results, outcome.truth, outcome.facts
    unknown = int((truth == UNKNOWN).sum())
    allowed = {f"at_{percent}_percent": accepted_at(percent, unknown) for percent in PERCENTS}
    _print(outcome, unknown, allowed)
    means = [{"method": r.method, "shots": r.shots, **_statistics(r)} for r in results]
    content = {"results": means,
               "repeats": [{"method": r.method, "shots": r.shots, "repeat": i}
                           | {name: float(values[i]) for name, values in r.figures.items()}
                           for r in results for i in range(len(r.best))],
               **({"pairs": outcome.pairs} if outcome.pairs else {}),
               **({"unknown_clips_accepted": allowed} if unknown else {}),
               "facts": facts | {"known_clips": len(truth) - unknown, "unknown_clips": unknown},
               "command": outcome.command, "versions": versions()}
    out, made = Path(out), [f"{outcome.stem}.json", f"{outcome.stem}.csv"]
    with write_atomically(out / made[0]) as file:
        file.write(to_json(content) + "\n")
    with write_atomically(out / made[1]) as file:
        writer = csv.DictWriter(file, means[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: f"{value:.6f}" if isinstance(value, float) else value for key, value in row.items()}
                         for row in means)
    if unknown:
        made.append(f"{outcome.stem}-det.png")
        with write_atomically(out / made[2], "wb") as file:
            file.write(draw_errors(outcome))
    print(f"wrote {', '.join([str(out / made[0]), *made[1:-1]])} and {made[-1]}")
    return content


def _print(outcome: Enrolment, unknown: int, allowed: dict[str, int]) -> None:
    """What was tested, the table, and what was chosen on dev."""
    results, truth, facts = outcome.results, outcome.truth, outcome.facts
    print(f"{len(facts['enrolled'])} words enrolled, {len(truth) - unknown:,} test clips of them"
          + (f", {unknown:,} of {len(facts['unknown'])} unknown words" if unknown else "")
          + f"; per cent, mean ± standard deviation over {len(results[0].best)} draws of the enrolled clips")
    if without := facts.get("untested"):
        print(f"no test clip of {len(without)} of these words, which no figure is about: "
              + first_few(map(visible, without)))
    print(markdown(cells(results)))
    if chosen := facts.get("chosen_on_dev"):
        print(describe_choice(chosen))
    if unknown and unknown < 100 * len(allowed):
        print("at FA, false acceptance, no more than " + ", ".join(
            f"{count} of {unknown} unknown clips ({percent} %)" for percent, count in
            zip(PERCENTS, allowed.values(), strict=True)) + " are accepted")


def tell_trained(enrolled: Sequence[str], unknown: Sequence[str], config: dict, all_words: bool = False) -> dict:
    """Print which of the words an encoder was trained on, if any; the same as facts, {} where its run does not say.

    A class to reject that is called "unknown" or the like mostly has whatever is not enrolled, and none of that word in
    it: such a label is named apart, unless ``all_words``.
    """
    if "labels" not in config:
        return {}
    found = {"enrolled": known_words(enrolled, config), "unknown": known_words(unknown, config)}
    doubtful = [label for label in found["unknown"] if folded(label) in _ANYTHING and not all_words]
    found["unknown"] = [label for label in found["unknown"] if label not in doubtful]
    facts = {f"{what}_words_trained_on": known for what, known in found.items()}
    if any(found.values()):
        facts["note on words"] = ("the encoder was trained on " + " and ".join(
            f"{len(known)} of the {len(labels)} {what} words ({first_few(map(visible, known), _NAMED)})"
            for (what, known), labels in zip(found.items(), (enrolled, unknown), strict=True) if known)
            + ": these are not new to it")
        print(facts["note on words"])
    if doubtful:
        print(f"{', '.join(map(visible, doubtful))}: a label of the encoder's training, too, which tells nothing if it "
              "is a word in one of the two and any other sound in the other")
    return facts


def describe_choice(chosen: dict) -> str:
    """A line on the ways of scoring that were chosen on dev, as `models.enrolment.choice.choose` has them."""
    figure = chosen["figure"]
    best = "highest" if figure == "accuracy" else "lowest"
    return (f"chosen on dev ({chosen['clips']:,} clips, {chosen['unknown_clips']:,} of them unknown), by the {best} "
            f"{HEADINGS[figure]} there: " + "; ".join(
                f"{one['shots']} {'clip' if one['shots'] == 1 else 'clips'}: {one['method']} ({100 * one[figure]:.2f})"
                for one in chosen["chosen"]))


def cells(results: Sequence[Result]) -> list[list[str]]:
    """The table's cells, its headings in the first row."""
    rows = [["method", "shots", *(HEADINGS[name] for name in results[0].figures)]]
    for result in results:
        rows.append([result.method, str(result.shots)])
        for name in result.figures:
            mean, deviation = _mean(result, name), _deviation(result, name)
            rows[-1].append(f"{100 * mean:.2f}" + (f" ± {100 * deviation:.2f}" if deviation is not None else ""))
    return rows


def draw_errors(outcome: Enrolment) -> bytes:
    """The detection-error curves as a PNG: unknown clips accepted against enrolled words' clips rejected.

    Both axes are in normal deviates, on which two normal distributions of scores give a straight line. A curve is the
    mean over the repeats of the clips rejected, each repeat with the thresholds that its own scores give.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state

    results, truth = outcome.results, outcome.truth
    unknown = int((truth == UNKNOWN).sum())
    accepted = np.arange(unknown + 1) / unknown
    curves = [np.mean([misses(score[truth != UNKNOWN], score[truth == UNKNOWN]) for score in r.score], axis=0)
              for r in results]
    # From the tick below what one clip is of all, the same on both axes, to the one above the worst curve.
    low = max(np.searchsorted(TICKS, min(0.1, 1 / unknown, 1 / (len(truth) - unknown)), "right") - 1, 0)
    high = np.searchsorted(TICKS, max(0.5, *(curve[1:][curve[1:] < 1].max() for curve in curves)))
    ticks = TICKS[low:high + 1]

    methods = list(dict.fromkeys(r.method for r in results if _drawn(r)))
    shots = sorted({r.shots for r in results})
    figure = Figure(figsize=(6.4, 6.4))
    axes = figure.add_subplot()
    axes.plot(_deviates(ticks), _deviates(ticks), color="0.8", linewidth=1, zorder=0)
    for result, curve in ((r, curve) for r, curve in zip(results, curves, strict=True) if _drawn(r)):
        inside = (curve > 0) & (curve < 1) & (accepted > 0) & (accepted < 1)
        axes.plot(_deviates(accepted[inside]), _deviates(curve[inside]), drawstyle="steps-post", linewidth=1.8,
                  color=colormaps["viridis"](0.85 * shots.index(result.shots) / max(len(shots) - 1, 1)),
                  linestyle=_STYLES[methods.index(result.method) % len(_STYLES)],
                  label=f"{result.method}, {result.shots} {'clip' if result.shots == 1 else 'clips'}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(_deviates(ticks), [f"{100 * tick:g}" for tick in ticks], fontsize=9)
    axes.set_xlim(*_deviates(ticks[[0, -1]]))
    axes.set_ylim(*_deviates(ticks[[0, -1]]))
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"false acceptance: % of {unknown:,} clips of unknown words accepted")
    axes.set_ylabel(f"miss: % of {len(truth) - unknown:,} clips of enrolled words rejected")
    axes.set_title(visible(outcome.stem), fontsize=11, parse_math=False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, frameon=False, fontsize=9,
                title="enrolled a class", handlelength=3)
    return png(figure)


def _drawn(result: Result) -> bool:
    """Only comparisons with the class's mean are drawn: more curves could not be told apart."""
    return not result.method.endswith((NEAREST, BOTH))


def _deviates(shares: np.ndarray) -> np.ndarray:
    return np.array([NormalDist().inv_cdf(share) for share in shares])


def _statistics(result: Result) -> dict:
    return {f"{name}_{kind}": of(result, name) for name in result.figures
            for kind, of in (("mean", _mean), ("std", _deviation))}


def _mean(result: Result, name: str) -> float:
    return float(result.figures[name].mean())


def _deviation(result: Result, name: str) -> float | None:
    """The standard deviation over the repeats, None if there is but one."""
    values = result.figures[name]
    return float(values.std(ddof=1)) if len(values) > 1 else None
