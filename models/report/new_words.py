"""What tests of words without training leave: of words enrolled from a few clips, and of words held out as new.

Of enrolled words a table, and JSON, CSV and detection-error curve as files; of new ones how well distances tell them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.base.errors import first_few
from data.base.labels import folded, visible
from data.manifests.manifest import Manifest
from models.enrolment.enrol import BOTH, PERCENTS, UNKNOWN, Result, accepted_at, misses
from models.neighbours import BINS, Pairs
from models.report.outcome import Enrolment
from models.report.tables import markdown, png, write_report
from models.runs.provenance import known_words

HEADINGS = {"accuracy": "accuracy", "auroc": "AUROC", "equal_error_rate": "equal-error rate",
            **{f"accuracy_at_{percent}_percent": f"accuracy at {percent} % FA" for percent in PERCENTS}}
_ANYTHING = {"unknown", "silence", "noise", "background", "other", "others"}  # words, and names of classes of no word
_NAMED = 10  # words in a line
_STYLES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 3)), (0, (7, 2, 1, 2, 1, 2)))  # as many as methods drawn
DRAWS = 200  # of words, with replacement, for an interval
_FIGURES = ("auroc", "equal_error_rate")
_HEAD = ("pairs of clips", "of one word", "of two words", "AUROC", "95 % interval", "equal-error rate", "95 % interval")


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

    results = [r for r in outcome.results if not r.method.endswith(BOTH)]
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


def measure(embeddings: np.ndarray, new: Manifest) -> list[dict]:
    """AUROC and equal-error rate of pairs of clips: of all (as while training), of two recordings, and of two speakers.
    A row for each has the figures of `models.neighbours.Pairs` and, where there are such pairs both of one word
    and of two, ``auroc_interval`` and ``equal_error_rate_interval`` over drawn words."""
    one, other = np.triu_indices(len(embeddings), 1)
    x = embeddings.astype(np.float64)
    squares = (x * x).sum(1)
    distance = np.clip(squares[one] + squares[other] - 2 * (x @ x.T)[one, other], 0, 4)  # squared Euclidean
    bins = np.minimum((distance * (BINS / 4)).astype(np.int64), BINS - 1)
    kind = (new.label[one] != new.label[other]).astype(np.int64)
    named = np.array([name is not None for name in new.speaker])
    speaker = np.unique([str(name) for name in new.speaker], return_inverse=True)[1]
    rows = []
    for name, group in (("all", None), ("of two recordings", new.file), ("of two speakers", speaker)):
        taken = np.ones(len(one), bool) if group is None else group[one] != group[other]
        if group is speaker:
            taken &= named[one] & named[other]  # who is not named may be anyone
        # (P,) of the pairs taken: bin and kind as one number, and the words of both clips
        cell, words = (kind * BINS + bins)[taken], (new.label[one[taken]], new.label[other[taken]])
        means = [distance[taken & (kind == k)].mean() if (kind[taken] == k).any() else np.nan for k in (0, 1)]
        figures = Pairs(np.bincount(cell, minlength=2 * BINS).reshape(2, BINS), np.array(means)).figures()
        rows.append({"pairs": name} | figures | (_intervals(cell, words, len(new.labels))
                                                 if figures["auroc"] is not None else {}))
    return rows


def _intervals(cell: np.ndarray, words: tuple[np.ndarray, np.ndarray], vocabulary: int) -> dict:
    """The 2.5th and the 97.5th percentile of both figures. A word drawn n times counts n times with itself, and n times
    m with one drawn m times."""
    rng, found = np.random.default_rng(0), []
    there = np.unique(np.concatenate(words))
    same = words[0] == words[1]
    for _ in range(DRAWS):
        times = np.bincount(rng.choice(there, len(there)), minlength=vocabulary)
        weights = times[words[0]] * np.where(same, 1, times[words[1]])
        counts = np.bincount(cell, weights, 2 * BINS).reshape(2, BINS)
        figures = Pairs(counts, np.full(2, np.nan)).figures()
        if figures["auroc"] is not None:
            found.append([figures[name] for name in _FIGURES])
    return {f"{name}_interval": np.percentile([one[i] for one in found], [2.5, 97.5]).tolist()
            for i, name in enumerate(_FIGURES)} if found else {}


def report_new_words(out: Path, stem: str, rows: Sequence[dict], new: Manifest, facts: dict,
                     command: str | None = None) -> None:
    """Print a table of what `measure` gave and write it as ``<stem>.json``, made by ``command``, into ``out``."""
    speakers = len({name for name in new.speaker if name is not None})
    print(f"{len(new):,} clips of {len(np.unique(new.label)):,} words held out as new, said by {speakers:,} "
          "speakers; per cent")
    print(markdown([_HEAD, *(
        (row["pairs"], f"{row['same_word_pairs']:,}", f"{row['different_word_pairs']:,}", *(
            text for name in _FIGURES for text in (_percent(row[name]), " to ".join(
                map(_percent, row.get(f"{name}_interval", [None])))))) for row in rows)]))
    facts = facts | {"clips": len(new), "words": [new.labels[c] for c in np.unique(new.label)], "speakers": speakers}
    write_report(out, stem, {"pairs": rows, "facts": facts, "command": command})


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
