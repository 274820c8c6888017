"""Misses against false alarms: counts by hand, and the curve by brute force."""

import numpy as np
import pytest

from spotting.detection.tradeoff import curve, figures, table

RNG = np.random.default_rng(2)


def figures_of(said, alarms, rates, hours, threshold=0.5):
    return figures([{"a": (said, alarms, np.zeros(len(alarms), int))}], [{"a": threshold}], rates, [hours])


def test_figures_by_hand():
    said, alarms = np.array([0.9, 0.8, 0.3, 0.2]), np.array([0.85, 0.5, 0.25, 0.1])
    own, rare, often = figures_of(said, alarms, [1.0, 100.0], 1.0)
    assert (own["threshold"], own["false_alarms"], own["missed"], own["recordings"]) == (0.5, 2, 2, 4)
    assert (rare["false_alarms"], rare["missed"]) == (1, 2) and 0.5 < rare["threshold"] < 0.5001
    assert often["missed"] == 0
    assert figures_of(said, alarms, [0.5], 1.9)[1] == {"word": "a", "fa_per_hour_wanted": 0.5, "threshold": None,
                                                       "claimed": False, "hours_needed": 2.0}
    # Of two draws the means; the second has every score 0.41 lower.
    draws = [{"a": (said - less, alarms - less, np.zeros(4, int))} for less in (0, 0.41)]
    own, = figures(draws, [{"a": 0.5}] * 2, [], [2.0])
    assert own["miss_rate_mean"] == (2 + 4) / 8 and own["miss_rate_max"] == 1 and own["fa_per_hour_mean"] == 0.5
    assert own["miss_rate_std"] == pytest.approx(np.std([0.5, 1], ddof=1)) and own["false_alarms_max"] == 2


def test_the_curve_is_the_least_missed_of_all_thresholds():
    said, alarms = RNG.normal(0.6, 0.2, 40).round(2), -np.sort(-RNG.normal(0.4, 0.2, 30).round(2))
    thresholds = [*np.unique(np.concatenate([said, alarms])), 9.0]
    least = [one["missed"] / 40 for one in figures_of(said, alarms, range(1, 31), 1.0)[1:]]
    for count, missed in enumerate(curve(said, alarms)):
        assert missed == min((said < t).mean() for t in thresholds if (alarms >= t).sum() <= count)
        assert count == 0 or missed == least[count - 1]


def test_the_table_claims_nothing_it_has_not_seen():
    said, alarms = np.repeat([0.2, 0.9], [3, 17]), np.full(4, 0.6)
    rows = table(figures([{"a": (said, alarms, np.arange(4))}], [{"a": 0.5}], [0.1], [0.5] * 4))
    assert rows[1][3:] == ("4", "2.00 (0.54-5.12)", "3/20", "15.0 % (3.2-37.9)")
    assert "not claimed: needs 10 h" in rows[2]
