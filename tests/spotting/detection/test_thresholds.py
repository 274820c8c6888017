"""Thresholds keep the rate that was asked for, and claim no more than the hours can show."""

import itertools

import numpy as np
import pytest

from models.enrolment.kept_cohort import pack, unpack
from spotting.detection.thresholds import Background, by_cohort, calibrate, lowest, tail
from spotting.encoders.load import Facts
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


def test_by_a_cohort_a_word_that_speech_resembles_gets_a_higher_threshold():
    rng = np.random.default_rng(0)
    x = windows(rng, 0.7 * np.eye(8)[0], 400)
    cohort = unpack(pack(x, ["some words"] * 200 + ["b like"] * 200, "f"), "f", 8)
    like, unlike = word("a", 0), word("b", 1)
    by_cohort([like, unlike], cohort, None, 0.5, 0.1, 1.0)
    assert not like.calibrated and 1 > like.threshold > unlike.threshold + 0.1
    kept = cohort.embeddings[:200] @ unlike.template()[0]  # b is said in the others
    assert unlike.threshold == pytest.approx(tail(np.sort(kept)[::-1], 0.5 * 0.1 / 3600), abs=1e-6)


def test_a_longer_word_may_have_each_window_reached_more_often():
    rng = np.random.default_rng(0)
    cohort = unpack(pack(windows(rng, 0.5 * np.eye(8)[0], 400), [""] * 400, "f"), "f", 8)
    short, long = word("a", 1), word("b", 1)
    for clip in long.clips:
        clip.embedding = np.repeat(clip.embedding, 3, axis=0)
    long.spacing = 0.5
    by_cohort([short, long], cohort, cohort, 0.5, 0.1, 1.0)
    scores = np.sort(cohort.scores(long.template()[:1], [], cohort)[0])[::-1]
    assert long.threshold == pytest.approx(tail(scores, (0.05 / 3600) ** 0.5), abs=1e-6)  # two windows long
    assert long.threshold < short.threshold
