"""Misses against false alarms an hour: what a threshold costs, and how much the recordings say about it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.report.drawing import png
from spotting.detection.intervals import Interval, allowed, of_rate, of_share, over_recordings, wider
from spotting.detection.outcome import TOGETHER, Scores
from spotting.detection.thresholds import lowest

RATES = (0.1, 0.5, 1.0, 2.0)  # false alarms an hour of the table
_OVER_DRAWS = ("word", "wanted/h", "an hour (95 %)", "miss rate, mean ± standard deviation over draws (95 %)", "least",
               "most")


@dataclass(frozen=True)
class Point:
    """One threshold's figures.

    Attributes:
        rate: false alarms an hour that were asked for; None at a threshold that was given.
        threshold: None where the rate is below one in the hours heard: then nothing is claimed.
        alarms, missed, recordings: counts: false alarms, recordings of the word missed, and all of them.
        again: intervals of the share missed and of the rate by `over_recordings`; None where it was not asked.
    """

    rate: float | None
    threshold: float | None
    alarms: int = 0
    missed: int = 0
    recordings: int = 0
    again: tuple[Interval, Interval] | None = None

    def intervals(self, hours: float) -> tuple[Interval, Interval]:
        """Of the share missed and of the rate, 95 %."""
        found = of_share(self.missed, self.recordings), of_rate(self.alarms, hours)
        return found if self.again is None else tuple(map(wider, found, self.again))

    def to_json(self, hours: float) -> dict:
        value = {"fa_per_hour_wanted": self.rate, "threshold": self.threshold}
        if self.threshold is None:
            return value | {"claimed": False, "hours_needed": 1 / self.rate}
        share, rate = self.intervals(hours)
        return value | {"claimed": True, "false_alarms": self.alarms, "fa_per_hour": self.alarms / hours,
                        "fa_per_hour_95": rate, "missed": self.missed, "recordings": self.recordings,
                        "miss_rate": self.missed / self.recordings, "miss_rate_95": share}


def at_threshold(best: np.ndarray, alarms: np.ndarray, threshold: float, rate: float | None = None) -> Point:
    """The point of a threshold, from the best scores of recordings of the word (N,), and all of false alarms (A,)."""
    return Point(rate, threshold, int((alarms >= threshold).sum()), int((best < threshold).sum()), len(best))


def at_rate(best: np.ndarray, alarms: np.ndarray, rate: float, hours: float) -> Point:
    """The point of the lowest threshold that keeps a rate; ``alarms`` descending."""
    count = allowed(rate, hours)
    if count == 0:
        return Point(rate, None)
    return at_threshold(best, alarms, lowest(alarms, count), rate)


def points(scores: Scores, thresholds: dict[str, float], rates: Sequence[float], hours: Sequence[float]
           ) -> list[tuple[str, Point]]:
    """Each word's point at its threshold, then those at the rates, with intervals; ``hours`` of each recording."""
    found = []
    for name, (best, alarms, files) in scores.items():
        for rate in (None, *rates):
            point = at_rate(best, alarms, rate, sum(hours)) if rate else at_threshold(best, alarms, thresholds[name])
            if point.threshold is not None:
                point = replace(point, again=over_recordings([(best, alarms, files, point.threshold)], hours, rate))
            found.append((name, point))
    return found


def curve(best: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """(A + 1,) the least share of recordings missed with at most k false alarms, k = 0 to A; ``alarms`` descending."""
    missed = np.searchsorted(np.sort(best), alarms, "right")  # a threshold just above the alarm that is too many
    return np.append(missed, 0) / len(best)


def table(rows: Sequence[tuple[str, Point]], hours: float) -> list[tuple[str, ...]]:
    """Cells for the terminal, with their headings."""
    cells = [("word", "wanted/h", "threshold", "false alarms", "an hour (95 %)", "missed", "miss rate (95 %)")]
    for name, point in rows:
        wanted = "enrolled" if point.rate is None else f"{point.rate:g}"
        if point.threshold is None:
            cells.append((name, wanted, "-", "-", f"not claimed: needs {1 / point.rate:.3g} h", "-", "-"))
            continue
        (least, most), (low, high) = point.intervals(hours)
        cells.append((name, wanted, f"{point.threshold:+.3f}" if name == TOGETHER else f"{point.threshold:.3f}",
                      str(point.alarms), f"{point.alarms / hours:.2f} ({low:.2f}-{high:.2f})",
                      f"{point.missed}/{point.recordings}",
                      f"{100 * point.missed / point.recordings:.1f} % ({100 * least:.1f}-{100 * most:.1f})"))
    return cells


def over_draws(scores: Sequence[Scores], rates: Sequence[float], hours: Sequence[float],
               thresholds: Sequence[dict[str, float]] | None) -> list[dict]:
    """Of each word and rate, the miss rates over the draws; and at the thresholds that enrolling sets by the cohort.

    Draws share the recordings, so the intervals are those of one draw with the mean counts, or those that drawing the
    recordings again gives, whichever reach further.

    Args:
        scores: of each draw.
        hours: of each recording without the words.
        thresholds: of each draw, by word; None where enrolling sets none.
    """
    results, total = [], float(np.sum(hours))
    for name in scores[0]:
        drawn = [one[name] for one in scores]
        for rate in ([None] if thresholds else []) + list(rates):
            points = [at_rate(*one[:2], rate, total) if rate else at_threshold(*one[:2], thresholds[i][name])
                      for i, one in enumerate(drawn)]
            value = {"word": name, "fa_per_hour_wanted": rate, "claimed": points[0].threshold is not None}
            if value["claimed"]:
                missed, recordings = np.array([point.missed for point in points]), points[0].recordings
                alarms = np.array([point.alarms for point in points])
                again = over_recordings([(*one, point.threshold) for one, point in zip(drawn, points, strict=True)],
                                        hours, rate)
                share, per_hour = map(wider, again, (of_share(missed.mean(), recordings),
                                                     of_rate(alarms.mean(), total)))
                value |= {"miss_rate_mean": float(missed.mean()) / recordings,
                          "miss_rate_std": float(missed.std(ddof=1)) / recordings,
                          "miss_rate_min": float(missed.min()) / recordings,
                          "miss_rate_max": float(missed.max()) / recordings,
                          "miss_rate_95": share, "recordings": recordings,
                          "fa_per_hour_mean": float(alarms.mean()) / total, "fa_per_hour_95": per_hour,
                          "false_alarms_max": int(alarms.max())}
            else:
                value["hours_needed"] = 1 / rate
            results.append(value)
    return results


def table_over_draws(results: Sequence[dict]) -> list[tuple[str, ...]]:
    """Cells for the terminal, with their headings."""
    cells = [_OVER_DRAWS]
    for result in results:
        wanted = "enrolled" if result["fa_per_hour_wanted"] is None else f"{result['fa_per_hour_wanted']:g}"
        if not result["claimed"]:
            cells.append((result["word"], wanted, f"not claimed: needs {result['hours_needed']:.3g} h", "-", "-", "-"))
            continue
        mean, spread, least, most = (100 * result[f"miss_rate_{of}"] for of in ("mean", "std", "min", "max"))
        low, high = result["fa_per_hour_95"]
        below, above = (100 * share for share in result["miss_rate_95"])
        cells.append((result["word"], wanted, f"{result['fa_per_hour_mean']:.2f} ({low:.2f}-{high:.2f})",
                      f"{mean:.1f} ± {spread:.1f} % ({below:.1f}-{above:.1f})", f"{least:.1f}", f"{most:.1f}"))
    return cells


def draw(scores: Scores, hours: float, title: str) -> bytes:
    """Miss rate against false alarms an hour as a PNG, a step curve for each word.

    A rate of less than one false alarm in the hours heard is not drawn.
    """
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(6.4, 4.8))
    axes = figure.add_subplot()
    for name, (best, alarms, _) in scores.items():
        missed = curve(best, alarms)
        counts = np.arange(1, len(missed))
        axes.plot(counts / hours, 100 * missed[1:], drawstyle="steps-post", linewidth=1.8 if name == TOGETHER else 1.2,
                  color="0.2" if name == TOGETHER else None, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(1 / hours, max(10.0, 10 / hours))
    axes.set_ylim(0, 100)
    axes.grid(color="0.92", linewidth=0.6, which="both")
    axes.set_axisbelow(True)
    axes.set_xlabel(f"false alarms an hour, in {hours:.2f} h")
    axes.set_ylabel("recordings missed, %")
    axes.set_title(title, fontsize=11, parse_math=False)
    axes.legend(frameon=False, fontsize=9)
    return png(figure)
