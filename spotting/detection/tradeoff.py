"""Misses against false alarms an hour: what a threshold costs, and how much the recordings say about it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spotting.detection.intervals import Interval, allowed, of_rate, of_share, wider
from spotting.detection.thresholds import lowest

RATES = (0.1, 0.5, 1.0, 2.0)  # false alarms an hour of the table


@dataclass(frozen=True)
class Point:
    """One threshold's figures.

    Attributes:
        rate: false alarms an hour that were asked for; None at a threshold that was given.
        threshold: None where the rate is below one in the hours heard: then nothing is claimed.
        alarms, missed, said: counts: false alarms, recordings of the word missed, and all of them.
        again: intervals of the share missed and of the rate by `over_recordings`; None where it was not asked.
    """

    rate: float | None
    threshold: float | None
    alarms: int = 0
    missed: int = 0
    said: int = 0
    again: tuple[Interval, Interval] | None = None

    def intervals(self, hours: float) -> tuple[Interval, Interval]:
        """Of the share missed and of the rate, 95 %."""
        found = of_share(self.missed, self.said), of_rate(self.alarms, hours)
        return found if self.again is None else tuple(map(wider, found, self.again))

    def to_json(self, hours: float) -> dict:
        value = {"fa_per_hour_wanted": self.rate, "threshold": self.threshold}
        if self.threshold is None:
            return value | {"claimed": False, "hours_needed": 1 / self.rate}
        share, rate = self.intervals(hours)
        return value | {"claimed": True, "false_alarms": self.alarms, "fa_per_hour": self.alarms / hours,
                        "fa_per_hour_95": rate, "missed": self.missed, "recordings": self.said,
                        "miss_rate": self.missed / self.said, "miss_rate_95": share}


def at_threshold(said: np.ndarray, alarms: np.ndarray, threshold: float, rate: float | None = None) -> Point:
    """The point of a threshold, from the best scores of recordings of the word (N,), and all of false alarms (A,)."""
    return Point(rate, threshold, int((alarms >= threshold).sum()), int((said < threshold).sum()), len(said))


def at_rate(said: np.ndarray, alarms: np.ndarray, rate: float, hours: float) -> Point:
    """The point of the lowest threshold that keeps a rate; ``alarms`` descending."""
    count = allowed(rate, hours)
    if count == 0:
        return Point(rate, None)
    return at_threshold(said, alarms, lowest(alarms, count), rate)


def curve(said: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """(A + 1,) the least share of recordings missed with at most k false alarms, k = 0 to A; ``alarms`` descending."""
    missed = np.searchsorted(np.sort(said), alarms, "right")  # a threshold just above the alarm that is too many
    return np.append(missed, 0) / len(said)


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
                      f"{point.missed}/{point.said}",
                      f"{100 * point.missed / point.said:.1f} % ({100 * least:.1f}-{100 * most:.1f})"))
    return cells


TOGETHER = "(all words)"


def draw(curves: dict[str, tuple[np.ndarray, np.ndarray]], hours: float, title: str) -> bytes:
    """Miss rate against false alarms an hour as a PNG, a step curve each; ``curves`` are (said, alarms) by name.

    A rate of less than one false alarm in the hours heard is not drawn.
    """
    import io

    from matplotlib.figure import Figure  # not pyplot: no window system, no global state
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(6.4, 4.8))
    axes = figure.add_subplot()
    for name, (said, alarms) in curves.items():
        missed = curve(said, alarms)
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
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=130, bbox_inches="tight", pad_inches=0.15)
    return png.getvalue()
