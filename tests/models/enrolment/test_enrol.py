"""Enrolment: draws, recognition and every figure against counting by hand, and what is refused."""

import itertools

import numpy as np
import pytest

from data.base.errors import UserError
from data.manifests.corpus import Corpus
from data.manifests.manifest import Manifest
from models import neighbours
from models.enrolment import enrol
from models.runs.options.testing import PROTOCOLS
from tests.conftest import manifest_of, unit

LABELS = ["bed", "cat", "dog", "four", "tree"]


def auroc(known, unknown) -> float:
    return neighbours.auroc(*enrol.by_score(known, unknown))


def equal_error_rate(known, unknown) -> float:
    return neighbours.equal_error(*enrol.by_score(known, unknown))[0]


def test_by_mean_and_nearest_clips_one_clip_is_left_out_for_it_is_the_mean():
    rng = np.random.default_rng(0)
    vectors = unit(rng, 20, 4)
    mean, both = (by(vectors[:8], vectors[8:]) for by in (enrol.by_mean, enrol.by_both))
    drawn = np.stack([rng.permutation(12).reshape(3, 4) for _ in range(2)])
    results = enrol.evaluate({"mean": mean, f"mean{enrol.BOTH}": both}, drawn, [1, 3], np.arange(8) % 3)
    assert [(r.method, r.shots) for r in results] == [("mean", 1), ("mean", 3), (f"mean{enrol.BOTH}", 3)]
    one, = enrol.evaluate({"both": both}, drawn, [1], np.arange(8) % 3)
    np.testing.assert_array_equal(one.best, results[0].best)
    np.testing.assert_allclose(one.score, results[0].score, atol=1e-6)


def manifest(counts: list[int]) -> Manifest:
    return manifest_of(np.repeat(np.arange(len(counts)), counts), LABELS[:len(counts)])


def words(enroll=None, unknown=None) -> tuple[list[int], list[int]]:
    enrolled, rejected = enrol.choose_words(LABELS, enroll, unknown, "m")
    return enrolled.tolist(), rejected.tolist()


# Scores as they come: no two equal; many equal; known and unknown ones equal throughout; one clip of a kind.
rng = np.random.default_rng(0)
SCORES = [(rng.standard_normal(40) + 1, rng.standard_normal(130)), (rng.standard_normal(300), rng.standard_normal(7)),
          (rng.integers(0, 6, 50) + 2, rng.integers(0, 6, 220)), (rng.integers(0, 3, 31), rng.integers(0, 3, 20)),
          (np.zeros(5), np.zeros(9)), (np.ones(4), np.zeros(3)), (np.zeros(4), np.ones(3)), (np.array([2]), [1]),
          (np.array([1]), [2]), (np.array([1]), [1])]
SCORES = [(np.asarray(known, np.float32), np.asarray(unknown, np.float32)) for known, unknown in SCORES]


def operating_points(known, unknown) -> list[tuple[float, float]]:
    """(unknown accepted, known missed) of every threshold there can be, the highest first."""
    thresholds = [np.inf, *sorted({*known.tolist(), *unknown.tolist()}, reverse=True)]
    return [(sum(u >= t for u in unknown) / len(unknown), sum(k < t for k in known) / len(known)) for t in thresholds]


@pytest.mark.parametrize(("known", "unknown"), SCORES)
def test_auroc_equals_counting_pairs(known, unknown):
    pairs = [1.0 if k > u else 0.5 if k == u else 0.0 for k in known for u in unknown]
    assert auroc(known, unknown) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert auroc(unknown, known) == pytest.approx(1 - np.mean(pairs), abs=1e-12)
    assert auroc(known, known) == 0.5


@pytest.mark.parametrize(("known", "unknown"), SCORES)
def test_equal_error_rate_lies_on_the_line_between_two_thresholds(known, unknown):
    points = operating_points(known, unknown)
    rate = equal_error_rate(known, unknown)
    # Walk along the line through all operating points in small steps: where do the two errors meet?
    walked = min(((abs(a - m), (a + m) / 2) for (a0, m0), (a1, m1) in itertools.pairwise(points)
                  for a, m in zip(np.linspace(a0, a1, 2001), np.linspace(m0, m1, 2001), strict=True)))
    assert rate == pytest.approx(walked[1], abs=1e-3)
    # No threshold has both errors below it.
    assert all(max(point) >= rate - 1e-12 for point in points)


@pytest.mark.parametrize(("known", "unknown"), SCORES)
def test_misses_are_the_least_of_all_thresholds_that_accept_no_more(known, unknown):
    points, curve = operating_points(known, unknown), enrol.misses(known, unknown)
    assert len(curve) == len(unknown) + 1
    for k, missed in enumerate(curve):
        assert missed == pytest.approx(min(m for a, m in points if a <= k / len(unknown) + 1e-12), abs=1e-12), k


@pytest.mark.parametrize(("known", "unknown"), SCORES)
def test_accuracy_at_false_acceptance_equals_scanning_thresholds(known, unknown):
    truth = np.r_[np.arange(len(known)) % 3, np.full(len(unknown), enrol.UNKNOWN)]
    best = np.random.default_rng(1).integers(0, 3, len(truth))
    score = np.r_[known, unknown]
    found = enrol.figures(truth, best, score)
    right = (best == truth)[:len(known)]
    assert found["accuracy"] == pytest.approx(right.mean())
    for percent in (1, 5):
        reached = [np.mean(right & (known >= t)) for t in [np.inf, *score]
                   if 100 * np.sum(unknown >= t) <= percent * len(unknown)]
        assert found[f"accuracy_at_{percent}_percent"] == pytest.approx(max(reached), abs=1e-12)
    assert found["auroc"] == auroc(known, unknown)
    assert found["equal_error_rate"] == equal_error_rate(known, unknown)


def test_without_unknown_clips_there_is_only_accuracy():
    assert enrol.figures(np.array([0, 1, 1]), np.array([0, 1, 0]), np.ones(3)) == {"accuracy": pytest.approx(2 / 3)}


def test_a_repeats_clips_are_distinct_and_of_their_class():
    label = np.random.default_rng(0).permutation(np.repeat(np.arange(5), 12))
    enrolled = np.array([0, 2, 3])
    drawn = enrol.draw(label, enrolled, 12, 8, 0)
    assert drawn.shape == (8, 3, 12)
    np.testing.assert_array_equal(label[drawn], np.broadcast_to(enrolled[:, None], drawn.shape))
    assert all(len(set(clips.tolist())) == 12 for repeat in drawn for clips in repeat)
    few = enrol.draw(label, enrolled, 3, 60, 0)
    assert set(few.ravel().tolist()) == set(np.flatnonzero(np.isin(label, enrolled)).tolist())  # any clip may be drawn


def test_draws_follow_from_the_seed_and_grow_with_the_shots():
    label = np.repeat(np.arange(5), 40)
    first = enrol.draw(label, np.array([1, 4]), 10, 5, 7)
    np.testing.assert_array_equal(first, enrol.draw(label, np.array([1, 4]), 10, 5, 7))
    np.testing.assert_array_equal(first[..., :3], enrol.draw(label, np.array([1, 4]), 3, 5, 7))
    np.testing.assert_array_equal(first[:2], enrol.draw(label, np.array([1, 4]), 10, 2, 7))
    np.testing.assert_array_equal(first[:, 1:], enrol.draw(label, np.array([4]), 10, 5, 7))
    assert not np.array_equal(first, enrol.draw(label, np.array([1, 4]), 10, 5, 8))
    assert len({tuple(sorted(repeat)) for repeat in first[:, 0].tolist()}) == 5


def test_targets_are_positions_among_the_enrolled():
    np.testing.assert_array_equal(enrol.targets(np.array([4, 0, 1, 3, 2, 4]), np.array([1, 3])),
                                  [enrol.UNKNOWN, enrol.UNKNOWN, 0, 1, enrol.UNKNOWN, enrol.UNKNOWN])


@pytest.mark.parametrize("cells", [1, 40, 1 << 24])
def test_recognition_equals_comparing_one_clip_at_a_time(monkeypatch, cells):
    monkeypatch.setattr(enrol, "_SCORES", cells)  # one query at a time; blocks that do not divide them; all
    rng = np.random.default_rng(2)
    queries, pool = unit(rng, 23, 6), unit(rng, 30, 6)
    rows = rng.permutation(30)[:12].reshape(3, 4)
    means = [sum(pool[i].astype(float) for i in clips) for clips in rows]
    by_hand = {"mean": [[q @ m / np.linalg.norm(m) for m in means] for q in queries],
               "few": [[np.mean(sorted(q @ pool[i] for i in clips)[-3:]) for clips in rows] for q in queries]}
    by_hand["both"] = np.add(by_hand["mean"], by_hand["few"]) / 2
    for rule, compare in (("mean", enrol.by_mean(queries, pool)), ("both", enrol.by_both(queries, pool))):
        best, score = enrol.recognise(compare, rows, len(queries))
        np.testing.assert_array_equal(best, np.argmax(by_hand[rule], axis=1))
        np.testing.assert_allclose(score, np.max(by_hand[rule], axis=1), atol=1e-6)


def test_equal_similarities_go_to_the_lowest_class():
    pool = np.eye(3, dtype=np.float32)[[0, 1, 1, 0]]
    best, _ = enrol.recognise(enrol.by_mean(pool, pool), np.array([[1], [2], [0]]), 4)
    np.testing.assert_array_equal(best, [2, 0, 0, 2])


def test_words_to_enrol_and_to_reject():
    assert words() == ([0, 1, 2, 3, 4], [])
    assert words(enroll=["dog", "bed", "dog"]) == ([0, 2], [])
    assert words(unknown=["tree", "cat"]) == ([0, 2, 3], [1, 4])
    assert words(["bed", "four"], ["cat"]) == ([0, 3], [1])
    assert words(["bed", "four"], []) == ([0, 3], [1, 2, 4])
    assert words(["bed"], ["cat"]) == ([0], [1])  # one wake word


@pytest.mark.parametrize(("enroll", "unknown", "said"), [
    (["Bed"], ["tee", "cat", "x"], "--manifest m has no label 'Bed', 'tee', 'x'; it has bed, cat"),
    (["bed", "cat"], ["cat", "dog"], "--enroll and --unknown both name cat;"),
    (None, [], "5 of the 5 labels .* and 0 rejected"), (LABELS, [], "and 0 rejected"),
    (None, LABELS, "0 of the 5 labels"), (["bed"], None, "1 of the 5 labels.*--unknown")])
def test_words_that_cannot_be(enroll, unknown, said):
    with pytest.raises(UserError, match=said):
        words(enroll, unknown)


def test_a_protocol_needs_its_words_silence_and_others():
    needed = [*PROTOCOLS["commands10"]["enroll"], "_silence_", "bed"]
    enrol.check_protocol("commands10", Corpus("m", needed))
    for lacking in ("yes", "_silence_", "bed"):
        with pytest.raises(UserError, match=r"--protocol commands10: --manifest m lacks .*--silence"):
            enrol.check_protocol("commands10", Corpus("m", [label for label in needed if label != lacking]))


def test_there_must_be_test_clips_of_both_kinds():
    train, test = manifest([6, 6, 6, 6, 6]), manifest([3, 0, 0, 0, 2])
    enrol.check_clips(train, test, np.array([0, 1]), np.array([2, 4]), 6)
    for enrolled, unknown, said in (([1, 2], [4], "no test clip of cat, dog; .*--enroll"),
                                    ([0], [2, 3], "no test clip of dog, four; .*--unknown")):
        with pytest.raises(UserError, match=said):
            enrol.check_clips(train, test, np.array(enrolled), np.array(unknown), 6)
    with pytest.raises(UserError, match=r"--shots 6: too few training clips of cat \(5\), tree \(0\); .*--enroll"):
        enrol.check_clips(manifest([9, 5, 6, 6, 0]), test, np.array([0, 1, 3, 4]), np.array([2]), 6)


def test_draws_of_which_there_are_fewer_than_asked_for():
    ways = len(list(itertools.product(itertools.combinations(range(5), 3), itertools.combinations(range(4), 3))))
    clips = {"bed": 5, "dog": 4}
    assert enrol.few_draws(clips, 3, ways) is None
    assert f"3 clips each of bed, dog can be drawn in {ways} ways only" in enrol.few_draws(clips, 3, ways + 1)
