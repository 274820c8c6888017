"""What a test of enrolled words leaves: a table on the terminal, and JSON, CSV and detection-error curve as files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.base.errors import first_few
from data.base.labels import folded, visible
from models.enrolment.enrol import BOTH, NEAREST, PERCENTS, UNKNOWN, Result, accepted_at, misses
from models.report.drawing import markdown, png
from models.report.outcome import Enrolment
from models.report.tables import write_report
from models.runs.provenance import known_words

HEADINGS = {"accuracy": "accuracy", "auroc": "AUROC", "equal_error_rate": "equal-error rate",
            **{f"accuracy_at_{percent}_percent": f"accuracy at {percent} % FA" for percent in PERCENTS}}
_ANYTHING = {"unknown", "silence", "noise", "background", "other", "others"}  # words, and names of classes of no word
_NAMED = 10  # words in a line
_STYLES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 3)), (0, (7, 2, 1, 2, 1, 2)))  # as many as methods drawn


def report_enrolment(out: Path, outcome: Enrolment) -> dict:
    """Print a table and write ``<stem>.json``, ``<stem>.csv`` and, with unknown clips, ``<stem>-det.png`` into ``out``.
    Returns what the JSON holds."""
    results, truth, facts = outcome.results, outcome.truth, outcome.facts
    unknown = int((truth == UNKNOWN).sum())
    allowed = {f"at_{percent}_percent": accepted_at(percent, unknown) for percent in PERCENTS}
    _print(outcome, unknown)
    means = [{"method": r.method, "shots": r.shots}
             | {f"{name}_{kind}": value for name in r.figures
                for kind, value in zip(("mean", "std"), _mean_and_deviation(r, name), strict=True)} for r in results]
    content = {"results": means,
               "repeats": [{"method": r.method, "shots": r.shots, "repeat": i}
                           | {name: float(values[i]) for name, values in r.figures.items()}
                           for r in results for i in range(len(r.best))],
               **({"pairs": outcome.pairs} if outcome.pairs else {}),
               **({"unknown_clips_accepted": allowed} if unknown else {}),
               "facts": facts | {"known_clips": len(truth) - unknown, "unknown_clips": unknown},
               "command": outcome.command}
    rows = [list(means[0]), *([f"{value:.6f}" if isinstance(value, float) else value for value in row.values()]
                              for row in means)]
    return write_report(out, outcome.stem, content, rows, {"det": draw_errors(outcome)} if unknown else None)


def _print(outcome: Enrolment, unknown: int) -> None:
    """What was tested, the table, and what was chosen on dev."""
    results, truth, facts = outcome.results, outcome.truth, outcome.facts
    print(f"{len(facts['enrolled'])} words enrolled, {len(truth) - unknown:,} test clips of them"
          + (f", {unknown:,} of {len(facts['unknown'])} unknown words" if unknown else "")
          + f"; per cent, mean ± standard deviation over {len(results[0].best)} draws of the enrolled clips")
    if without := facts.get("untested"):
        print(f"no test clip of {len(without)} of these words, which no figure is about: "
              + first_few(map(visible, without)))
    print(markdown(cells(results)))
    if chosen := facts.get("chosen_on_dev"):  # as `models.report.enrolled_words.choose_on_dev` has it
        figure = chosen["figure"]
        print(f"chosen on dev ({chosen['clips']:,} clips, {chosen['unknown_clips']:,} of them unknown), by the "
              f"{HEADINGS[figure]} there: " + "; ".join(
                  f"{one['shots']} clip{'s' * (one['shots'] > 1)}: {one['method']} ({100 * one[figure]:.2f})"
                  for one in chosen["chosen"]))


def tell_trained(enrolled: Sequence[str], unknown: Sequence[str], config: dict, all_words: bool = False) -> dict:
    """Print which of the words an encoder was trained on, if any; the same as facts, {} where its run does not say.

    A class to reject that is called "unknown" or the like mostly has whatever is not enrolled: it is no word, unless
    ``all_words``.
    """
    if "labels" not in config:
        return {}
    found = {"enrolled": known_words(enrolled, config), "unknown": [
        label for label in known_words(unknown, config) if all_words or folded(label) not in _ANYTHING]}
    facts = {f"{what}_words_trained_on": known for what, known in found.items()}
    if any(found.values()):
        facts["note on words"] = ("the encoder was trained on " + " and ".join(
            f"{len(known)} of the {len(labels)} {what} words ({first_few(map(visible, known), _NAMED)})"
            for (what, known), labels in zip(found.items(), (enrolled, unknown), strict=True) if known)
            + ": these are not new to it")
        print(facts["note on words"])
    return facts


def cells(results: Sequence[Result]) -> list[list[str]]:
    """The table's cells, its headings in the first row."""
    rows = [["method", "shots", *(HEADINGS[name] for name in results[0].figures)]]
    for result in results:
        rows.append([result.method, str(result.shots)])
        for name in result.figures:
            mean, deviation = _mean_and_deviation(result, name)
            rows[-1].append(f"{100 * mean:.2f}" + (f" ± {100 * deviation:.2f}" if deviation is not None else ""))
    return rows


def _mean_and_deviation(result: Result, name: str) -> tuple[float, float | None]:
    """Of a figure over the repeats; no deviation if there is but one."""
    values = result.figures[name]
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None


def draw_errors(outcome: Enrolment) -> bytes:
    """The detection-error curves as a PNG: unknown clips accepted against enrolled words' clips rejected. Both axes are
    in normal deviates. A curve is the mean over the repeats of the clips rejected, each repeat with the thresholds that
    its own scores give. Only comparisons with a class's mean are drawn: more could not be told apart."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state
    from sklearn.metrics import DetCurveDisplay

    results = [r for r in outcome.results if not r.method.endswith((NEAREST, BOTH))]
    known, unknown = outcome.truth != UNKNOWN, outcome.truth == UNKNOWN
    accepted = np.arange(unknown.sum() + 1) / unknown.sum()
    methods, shots = list(dict.fromkeys(r.method for r in results)), sorted({r.shots for r in results})
    axes = Figure(figsize=(6.4, 6.4)).add_subplot()
    for result in results:
        curve = np.mean([misses(score[known], score[unknown]) for score in result.score], axis=0)
        DetCurveDisplay(fpr=accepted, fnr=curve).plot(
            axes, drawstyle="steps-post", linewidth=1.8, linestyle=_STYLES[methods.index(result.method) % len(_STYLES)],
            color=colormaps["viridis"](0.85 * shots.index(result.shots) / max(len(shots) - 1, 1)),
            label=f"{result.method}, {result.shots} {'clip' if result.shots == 1 else 'clips'}")
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_xlabel(f"false acceptance: share of {unknown.sum():,} clips of unknown words accepted")
    axes.set_ylabel(f"miss: share of {known.sum():,} clips of enrolled words rejected")
    axes.set_title(visible(outcome.stem), fontsize=11, parse_math=False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, frameon=False, fontsize=9,
                title="enrolled a class", handlelength=3)
    return png(axes.figure)
