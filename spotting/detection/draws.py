"""Miss rates over several draws of the enrolled clips, and their table's rows."""

from collections.abc import Sequence

import numpy as np

from spotting.detection.intervals import of_rate, of_share, over_recordings, wider
from spotting.detection.outcome import Scores
from spotting.detection.tradeoff import at_rate, at_threshold

HEADINGS = ("word", "wanted/h", "an hour (95 %)", "miss rate, mean ± standard deviation over draws (95 %)", "least",
            "most")


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


def cells_of(result: dict) -> tuple[str, ...]:
    """A row of the table over draws."""
    wanted = "enrolled" if result["fa_per_hour_wanted"] is None else f"{result['fa_per_hour_wanted']:g}"
    if not result["claimed"]:
        return result["word"], wanted, f"not claimed: needs {result['hours_needed']:.3g} h", "-", "-", "-"
    mean, spread, least, most = (100 * result[f"miss_rate_{of}"] for of in ("mean", "std", "min", "max"))
    low, high = result["fa_per_hour_95"]
    below, above = (100 * share for share in result["miss_rate_95"])
    return (result["word"], wanted, f"{result['fa_per_hour_mean']:.2f} ({low:.2f}-{high:.2f})",
            f"{mean:.1f} ± {spread:.1f} % ({below:.1f}-{above:.1f})", f"{least:.1f}", f"{most:.1f}")
