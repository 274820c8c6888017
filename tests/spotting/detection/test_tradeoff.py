"""Misses against false alarms: counts by hand, and the curve by brute force."""

import numpy as np

from spotting.detection.tradeoff import Point, at_rate, at_threshold, curve, table

RNG = np.random.default_rng(2)


def test_points_by_hand():
    said, alarms = np.array([0.9, 0.8, 0.3, 0.2]), np.array([0.85, 0.5, 0.25, 0.1])
    assert at_threshold(said, alarms, 0.5) == Point(None, 0.5, 2, 2, 4)
    at = at_rate(said, alarms, 1.0, 1.0)
    assert (at.alarms, at.missed) == (1, 2)
    assert 0.5 < at.threshold < 0.5001
    assert at_rate(said, alarms, 0.5, 1.9) == Point(0.5, None)
    assert at_rate(said, alarms, 100.0, 1.0).missed == 0


def test_the_curve_is_the_least_missed_of_all_thresholds():
    said, alarms = RNG.normal(0.6, 0.2, 40).round(2), -np.sort(-RNG.normal(0.4, 0.2, 30).round(2))
    thresholds = [*np.unique(np.concatenate([said, alarms])), 9.0]
    for count, missed in enumerate(curve(said, alarms)):
        assert missed == min((said < t).mean() for t in thresholds if (alarms >= t).sum() <= count)
        assert missed == at_rate(said, alarms, count, 1.0).missed / 40 or count == 0


def test_the_table_claims_nothing_it_has_not_seen():
    rows = table([("a", Point(0.1, None)), ("a", Point(2.0, 0.5, 4, 3, 20))], 2.0)
    assert "not claimed: needs 10 h" in rows[1]
    assert rows[2][3:] == ("4", "2.00 (0.54-5.12)", "3/20", "15.0 % (3.2-37.9)")
