"""Intervals of shares and rates, by published figures, by their definition, and by how often they hold."""

import numpy as np
import pytest

from spotting.detection.intervals import allowed, of_rate, of_share, over_recordings, wider
from spotting.detection.thresholds import lowest


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


def test_the_truth_lies_in_what_is_reported_where_the_threshold_is_chosen_on_the_same_hours():
    """60 recordings of a word, 40 of two minutes without it, ten false alarms an hour above 0, exponential, of which
    two an hour are wanted: so at log(5). The interval of a fixed threshold holds less often than it says."""
    rng, held, fixed, rates = np.random.default_rng(0), 0, 0, 0
    true = np.log(5)
    missed = 1 - np.exp(-(true - 1))  # of words that score 1 and more, exponential
    for _ in range(100):
        file = rng.integers(40, size=rng.poisson(10 * 40 / 30))
        alarms = rng.exponential(size=len(file))
        order, said = np.argsort(-alarms), 1 + rng.exponential(size=60)
        threshold = lowest(alarms[order], allowed(2, 40 / 30))
        share, rate = over_recordings([(said, alarms[order], file[order], threshold)], np.full(40, 1 / 30), 2)
        alone = of_share(int((said < threshold).sum()), 60)
        low, high = wider(share, alone)
        held, fixed = held + (low <= missed <= high), fixed + (alone[0] <= missed <= alone[1])
        low, high = wider(rate, of_rate(int((alarms >= threshold).sum()), 40 / 30))
        rates += low <= 10 * np.exp(-threshold) <= high
    assert rates >= 93 and held >= 88 and held > fixed + 10


def test_false_alarms_of_few_recordings_say_less_than_as_many_of_many():
    def of(file):
        scores = np.linspace(1, 0.5, 20)
        return over_recordings([(np.ones(10), scores, np.array(file), 0.6)], np.full(20, 0.1), None)[1]

    apart, together, exact = of(np.arange(20)), of([7] * 20), of_rate(16, 2.0)
    assert together[0] == 0 and together[1] > 1.5 * exact[1] > 1.5 * apart[1]
    one = over_recordings([(np.ones(10), np.linspace(1, 0.5, 20), np.zeros(20, int), 0.6)], [2.0], None)
    assert one == ((0.0, 0.0), (8.0, 8.0))  # a single recording cannot be drawn otherwise
