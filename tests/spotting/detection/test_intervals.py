"""Exact intervals of shares and rates, by published figures and by their definition."""

import pytest

from spotting.detection.intervals import allowed, of_rate, of_share


@pytest.mark.parametrize(("events", "trials", "low", "high"), [(0, 10, 0, 0.3085), (10, 10, 0.6915, 1),
                                                               (3, 20, 0.0321, 0.3789), (81, 263, 0.2527, 0.3676)])
def test_the_interval_of_a_share_is_clopper_and_pearsons(events, trials, low, high):
    assert of_share(events, trials) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    from scipy.stats import binom

    low, high = of_share(events, trials)
    assert events == 0 or binom.sf(events - 1, trials, low) == pytest.approx(0.025)
    assert events == trials or binom.cdf(events, trials, high) == pytest.approx(0.025)


@pytest.mark.parametrize(("events", "hours", "low", "high"), [(0, 1, 0, 3.6889), (1, 1, 0.0253, 5.5716),
                                                              (10, 2, 2.3977, 9.1952)])
def test_the_interval_of_a_rate_is_exact(events, hours, low, high):
    assert of_rate(events, hours) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@pytest.mark.parametrize(("rate", "hours", "count"), [(0.5, 1.9, 0), (0.5, 2.0, 1), (0.1, 30, 3), (2, 5.3, 10)])
def test_so_many_alarms_are_allowed(rate, hours, count):
    assert allowed(rate, hours) == count
