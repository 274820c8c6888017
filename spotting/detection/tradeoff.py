"""Misses against false alarms an hour: what a threshold costs, and how much the recordings say about it."""

from collections.abc import Sequence

import numpy as np

from models.report.tables import png
from spotting.detection.thresholds import Background, allowed, lowest, of_rate, of_share, over_recordings, wider
from spotting.words.words_file import Words

TOGETHER = "(all words)"
# By word: the scores of its recordings; those of false alarms, descending; and in which recording each of these is.
Scores = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
_OF_ONE = ("word", "wanted/h", "threshold", "false alarms", "an hour (95 %)", "missed", "miss rate (95 %)")
_OVER_DRAWS = ("word", "wanted/h", "an hour (95 %)", "miss rate, mean ± standard deviation over draws (95 %)", "least",
               "most")


def scores_of(tested: Sequence[Words], labels: np.ndarray, best: np.ndarray, background: Background) -> list[Scores]:
    """Of each draw, by word; of several words also together, each score less the word's own threshold.

    Args:
        tested: of each draw its words, their names in the same order in each; W in all.
        labels: (N,) words of the recordings.
        best: (N, W) the highest score of each word in each.
    """
    found, count = [], len(tested[0].words)
    for d, words in enumerate(tested):
        of = {word.name: (best[labels == word.name, i], background.scores[i], background.file[i])
              for i, word in enumerate(words.words, d * count)}
        if count > 1:
            above = [(said - word.threshold, alarms - word.threshold, files)
                     for word, (said, alarms, files) in zip(words.words, of.values(), strict=True)]
            said, alarms, files = map(np.concatenate, zip(*above, strict=True))
            order = np.argsort(-alarms, kind="stable")
            of[TOGETHER] = said, alarms[order], files[order]
        found.append(of)
    return found


def figures(draws: Sequence[Scores], thresholds: Sequence[dict[str, float]] | None, rates: Sequence[float],
            hours: Sequence[float]) -> list[dict]:
    """Each word's misses and false alarms at its threshold, then at the lowest one that keeps each rate, as JSON.

    Nothing is claimed of a rate below one false alarm in the hours heard. Of several draws of the enrolled clips these
    are means. Draws share the recordings, so the intervals are those of one draw with the mean counts, or those of
    `over_recordings`, whichever reach further. ``hours`` are those of each recording without the words.
    """
    found, total = [], float(np.sum(hours))
    for name in draws[0]:
        scores = [draw[name] for draw in draws]
        for rate in ([None] if thresholds else []) + list(rates):
            value = {"word": name, "fa_per_hour_wanted": rate}
            if rate and not allowed(rate, total):
                nothing = {"threshold": None} if len(draws) == 1 else {}
                found.append(value | nothing | {"claimed": False, "hours_needed": 1 / rate})
                continue
            least = [lowest(alarms, allowed(rate, total)) if rate else thresholds[i][name]
                     for i, (_, alarms, _) in enumerate(scores)]
            missed, alarms = (np.array(counts) for counts in zip(*(
                (int((best < threshold).sum()), int((alarms >= threshold).sum()))
                for (best, alarms, _), threshold in zip(scores, least, strict=True)), strict=True))
            again = over_recordings([(*one, threshold) for one, threshold in zip(scores, least, strict=True)], hours,
                                    rate)
            recordings = len(scores[0][0])
            share, per_hour = map(wider, again, (of_share(missed.mean(), recordings), of_rate(alarms.mean(), total)))
            if len(draws) == 1:
                value |= {"threshold": least[0], "claimed": True, "false_alarms": int(alarms[0]),
                          "fa_per_hour": alarms[0] / total, "fa_per_hour_95": per_hour, "missed": int(missed[0]),
                          "recordings": recordings, "miss_rate": missed[0] / recordings, "miss_rate_95": share}
            else:
                value |= {"claimed": True, "miss_rate_mean": missed.mean() / recordings,
                          "miss_rate_std": missed.std(ddof=1) / recordings, "miss_rate_min": missed.min() / recordings,
                          "miss_rate_max": missed.max() / recordings, "miss_rate_95": share, "recordings": recordings,
                          "fa_per_hour_mean": alarms.mean() / total, "fa_per_hour_95": per_hour,
                          "false_alarms_max": int(alarms.max())}
            found.append(value)
    return found


def curve(best: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """(A + 1,) the least share of recordings missed with at most k false alarms, k = 0 to A; ``alarms`` descending."""
    missed = np.searchsorted(np.sort(best), alarms, "right")  # a threshold just above the alarm that is too many
    return np.append(missed, 0) / len(best)


def table(results: Sequence[dict]) -> list[tuple[str, ...]]:
    """Cells of `figures` for the terminal, with their headings."""
    of_one = "threshold" in results[0]
    cells = [_OF_ONE if of_one else _OVER_DRAWS]
    for one in results:
        name, rate = one["word"], one["fa_per_hour_wanted"]
        row = name, "enrolled" if rate is None else f"{rate:g}"
        if not one["claimed"]:
            told = f"not claimed: needs {one['hours_needed']:.3g} h"
            cells.append((*row, *(("-", "-", told, "-", "-") if of_one else (told, "-", "-", "-"))))
            continue
        low, high = one["fa_per_hour_95"]
        below, above = (100 * share for share in one["miss_rate_95"])
        if of_one:
            threshold = one["threshold"]
            cells.append((*row, f"{threshold:+.3f}" if name == TOGETHER else f"{threshold:.3f}",
                          str(one["false_alarms"]), f"{one['fa_per_hour']:.2f} ({low:.2f}-{high:.2f})",
                          f"{one['missed']}/{one['recordings']}",
                          f"{100 * one['miss_rate']:.1f} % ({below:.1f}-{above:.1f})"))
        else:
            mean, spread, least, most = (100 * one[f"miss_rate_{of}"] for of in ("mean", "std", "min", "max"))
            cells.append((*row, f"{one['fa_per_hour_mean']:.2f} ({low:.2f}-{high:.2f})",
                          f"{mean:.1f} ± {spread:.1f} % ({below:.1f}-{above:.1f})", f"{least:.1f}", f"{most:.1f}"))
    return cells


def draw(scores: Scores, hours: float, title: str) -> bytes:
    """Miss rate against false alarms an hour as a PNG, a step curve for each word, from one false alarm in the hours
    heard on."""
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state

    figure = Figure(figsize=(6.4, 4.8))
    axes = figure.add_subplot()
    for name, (best, alarms, _) in scores.items():
        missed = curve(best, alarms)
        counts = np.arange(1, len(missed))
        axes.plot(counts / hours, 100 * missed[1:], drawstyle="steps-post", linewidth=1.8 if name == TOGETHER else 1.2,
                  color="0.2" if name == TOGETHER else None, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlim(1 / hours, max(10.0, 10 / hours))
    axes.set_ylim(0, 100)
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_xlabel(f"false alarms an hour, in {hours:.2f} h")
    axes.set_ylabel("recordings missed, %")
    axes.set_title(title, fontsize=11, parse_math=False)
    axes.legend(frameon=False, fontsize=9)
    return png(figure)
