"""Thresholds keep the rate that was asked for, and claim no more than the hours can show.

Intervals: by published figures, by their definition, and by how often they hold.
"""

import itertools

import numpy as np
import pytest

from models.enrolment.enrol import alike
from models.enrolment.kept_cohort import pack, unpack
from spotting.detection import thresholds
from spotting.detection.thresholds import Background, allowed, by_cohort, calibrate, lowest, over_recordings, tail
from spotting.encoders.load import Embedder, Facts
from spotting.words.words_file import Words
from tests.spotting.words.test_words_file import FACTS, word


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("room", [0.0, 0.01, 5.0])
def test_the_lowest_threshold_lets_through_what_is_allowed(seed, room):
    scores = -np.sort(-np.random.default_rng(seed).normal(0.3, 0.2, 50).round(2))  # with ties
    for count in range(60):
        threshold = lowest(scores, count, room)
        passed = int((scores >= threshold).sum())
        assert passed <= count
        if count >= 50:
            assert passed == 50
        else:  # one more of the scores, and its equals, would be too many
            assert int((scores >= scores[count]).sum()) > count
            assert passed == int((scores > scores[count]).sum())
            assert scores[count] < threshold <= scores[count] + max(room, 1e-9)
    assert lowest(np.array([0.9999]), 0, room) < 1.0  # no threshold is above what a similarity can be


def background(hours, scores):
    return Background(["a.wav"], hours, [np.array(s) for s in scores], [np.zeros(len(s), int) for s in scores],
                      [np.zeros(len(s)) for s in scores])


def test_each_word_gets_its_own_threshold_and_what_it_rests_on_is_kept():
    words = Words(FACTS, [word("a", 0), word("b", 1)])
    lines = calibrate(words, background(4.0, [[0.6, 0.5, 0.4, 0.3], [0.9999, 0.2]]), 0.5)
    a, b = words.words
    assert 0.4 < a.threshold <= 0.4101  # two are allowed in four hours
    assert b.threshold <= 0.2
    about = words.calibration
    assert about["words"]["a"] == {"decided_by": "background", "false_alarms": 2,
                                   "per_hour_95": pytest.approx([0.061, 1.806], abs=1e-3),
                                   "enrolled_clips": 5, "pass_left_out": 5}
    assert about["shown"] and len(lines) == 2
    assert "4.00 h" in lines[0]


def test_a_rate_below_one_in_the_hours_heard_is_not_claimed():
    words = Words(Facts(**FACTS.__dict__), [word("a", 0)])
    lines = calibrate(words, background(1.0, [[0.6, 0.5]]), 0.5)
    assert words.words[0].threshold > 0.6 and not words.calibration["shown"]
    assert "at most 3.7 an hour" in lines[-1] and "2 h and more" in lines[-1]


@pytest.mark.parametrize("rate", [0.1, 0.9, 1.0, 40.0])
def test_a_background_lowers_no_threshold_of_the_cohort_unless_its_hours_show_the_rate(rate):
    by_the_cohort, scores = [0.3, 0.9], [0.6, 0.5] * 20
    words = Words(FACTS, [word("a", 0), word("b", 1)])
    lines = calibrate(words, background(1.0, [-np.sort(-np.array(scores))] * 2), rate, None, by_the_cohort)
    alone = Words(FACTS, [word("a", 0), word("b", 1)])
    calibrate(alone, background(1.0, [-np.sort(-np.array(scores))] * 2), rate)
    raised = by_the_cohort if rate < 1 else [-1, -1]
    for one, other, least, line in zip(words.words, alone.words, raised, lines, strict=False):
        assert one.threshold == max(other.threshold, least) and one.calibrated == (other.threshold > least)
        assert ("by the cohort" in line) == (other.threshold < least)
    assert ("the cohort's" in lines[-1]) == (rate < 1)


@pytest.mark.parametrize("power", [3.0, 5.0, 20.0])
def test_a_tail_is_reckoned_beyond_what_was_seen(power):
    """Of scores whose share above 1 - d is d to a power, seen 2,000 times, the score that one in 100,000 reaches."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(20):
        scores = np.sort(1 - rng.uniform(0, 1, 2_000) ** (1 / power))[::-1]
        found.append(tail(scores, 1e-5))
    wanted = 1 - 1e-5 ** (1 / power)
    assert np.mean(found) == pytest.approx(wanted, abs=0.2 * (1 - wanted))
    assert np.std(found) < 0.5 * (1 - wanted)


def test_a_tail_grows_as_less_is_allowed_and_stays_below_one():
    scores = np.sort(np.random.default_rng(1).normal(0.2, 0.15, 500))[::-1]
    found = [tail(scores, share) for share in (1e-2, 1e-3, 1e-4, 1e-6, 1e-9)]
    assert all(a < b < 1 for a, b in itertools.pairwise(found))
    assert tail(np.full(40, 0.3), 1e-5) == pytest.approx(0.3) and tail(np.array([1.0, 0.9, 0.2]), 1e-5) < 1


def windows(rng, centre, count):
    x = rng.normal(0, 0.3, (count, 8)) + centre
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_a_threshold_by_a_cohort_is_the_tail_of_its_scores_without_the_word():
    x = windows(np.random.default_rng(0), 0.7 * np.eye(8)[0], 400)
    cohort = unpack(pack(x, ["some words"] * 200 + ["b like"] * 200, "f"), "f", 8)
    one = word("b", 1)
    by_cohort([one], Embedder(FACTS, None, cohort=cohort), 0.5, 1600)
    levels = [np.sort(np.delete(cohort.embeddings, i, 0) @ cohort.embeddings[i])[-50:].mean() for i in range(200)]
    scores = np.sort(alike(cohort.embeddings[:200], one.models())[:, 0] - levels)[::-1]
    assert one.threshold == pytest.approx(tail(scores, 0.5 * 0.1 / 3600) - thresholds.STEADY, abs=1e-4)
    by_cohort([one], Embedder(FACTS, None, cohort=cohort), 0.5, 4800)  # no window lies within 0.1 s of another
    assert one.threshold == pytest.approx(tail(scores, 0.5 * 0.3 / 3600), abs=1e-4) and not one.calibrated


def test_a_longer_word_may_have_each_window_reached_more_often():
    rng = np.random.default_rng(0)
    cohort = unpack(pack(windows(rng, 0.5 * np.eye(8)[0], 400), [""] * 400, "f"), "f", 8)
    short, long = word("a", 1), word("b", 1)
    for clip in long.clips:
        clip.embedding = clip.model = clip.halls = np.repeat(clip.model, 3, axis=0)
    long.spacing = 0.5
    by_cohort([short, long], Embedder(FACTS, None, cohort=cohort), 0.5, 1600)
    scores = np.sort(cohort.scores(long.models()[:, :1], [])[0])[::-1]
    assert long.threshold == pytest.approx(tail(scores, (0.05 / 3600) ** 0.5) - thresholds.STEADY, abs=1e-6)  # two long
    assert long.threshold < short.threshold


@pytest.mark.parametrize(("events", "trials", "low", "high"), [(0, 10, 0, 0.3085), (10, 10, 0.6915, 1),
                                                               (3, 20, 0.0321, 0.3789), (81, 263, 0.2527, 0.3676)])
def test_the_interval_of_a_share_is_clopper_and_pearsons(events, trials, low, high):
    assert thresholds.of_share(events, trials) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    from scipy.stats import binom

    low, high = thresholds.of_share(events, trials)
    assert events == 0 or binom.sf(events - 1, trials, low) == pytest.approx(0.025)
    assert events == trials or binom.cdf(events, trials, high) == pytest.approx(0.025)


@pytest.mark.parametrize(("events", "hours", "low", "high"), [(0, 1, 0, 3.6889), (1, 1, 0.0253, 5.5716),
                                                              (10, 2, 2.3977, 9.1952)])
def test_the_interval_of_a_rate_is_exact(events, hours, low, high):
    assert thresholds.of_rate(events, hours) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


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
        alone = thresholds.of_share(int((said < threshold).sum()), 60)
        low, high = thresholds.wider(share, alone)
        held, fixed = held + (low <= missed <= high), fixed + (alone[0] <= missed <= alone[1])
        low, high = thresholds.wider(rate, thresholds.of_rate(int((alarms >= threshold).sum()), 40 / 30))
        rates += low <= 10 * np.exp(-threshold) <= high
    assert rates >= 93 and held >= 88 and held > fixed + 10


def test_false_alarms_of_few_recordings_say_less_than_as_many_of_many():
    def of(file):
        scores = np.linspace(1, 0.5, 20)
        return over_recordings([(np.ones(10), scores, np.array(file), 0.6)], np.full(20, 0.1), None)[1]

    apart, together, exact = of(np.arange(20)), of([7] * 20), thresholds.of_rate(16, 2.0)
    assert together[0] == 0 and together[1] > 1.5 * exact[1] > 1.5 * apart[1]
    one = over_recordings([(np.ones(10), np.linspace(1, 0.5, 20), np.zeros(20, int), 0.6)], [2.0], None)
    assert one == ((0.0, 0.0), (8.0, 8.0))  # a single recording cannot be drawn otherwise
