"""Whitening by the covariance within classes of other words."""

import numpy as np

from models.enrolment import cohort, enrol
from models.enrolment.cohort import Reference
from models.enrolment.whiten import PER_DIMENSION, Whitening

D = 8


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def words(rng, classes, clips):
    """Clips of words: a part common to all, the word's own place, and a wide spread in the last two directions."""
    means = rng.normal(size=(classes, D))
    spread = np.r_[np.full(D - 2, 0.3), 3.0, 3.0]
    common = np.r_[4.0, np.zeros(D - 1)]
    vectors = common + np.repeat(means, clips, 0) + rng.normal(size=(classes * clips, D)) * spread
    return unit(vectors).astype(np.float32), np.repeat(np.arange(classes), clips)


def test_the_covariance_within_classes_becomes_the_identity_but_for_the_shrinking():
    rng = np.random.default_rng(0)
    vectors, labels = words(rng, 60, 20)
    whiten = Whitening.fit(vectors, labels)
    means = np.stack([vectors[labels == c].mean(0) for c in range(60)])
    within = sum(np.cov(vectors[labels == c].T, ddof=0) * 20 for c in range(60)) / (60 * 19)  # by brute force
    np.testing.assert_allclose(whiten.centre, means.mean(0), atol=1e-6)
    shrunk = within + 0.5 * np.trace(within) / D * np.eye(D)
    np.testing.assert_allclose(whiten.factor.T @ shrunk @ whiten.factor, np.eye(D), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(whiten(vectors), axis=1), 1, atol=1e-5)


def test_words_that_it_was_not_learnt_from_are_told_apart_better():
    rng = np.random.default_rng(2)
    other, labels = words(rng, 60, 20)
    new, truth = words(rng, 20, 20)
    queries, pool = new[1::2], new[::2]
    rows = np.arange(len(pool)).reshape(20, 10)
    ways = {"plain": enrol.by_mean(queries, pool)} | cohort.whitened(queries, pool, Reference.of_clips(other, labels))
    right = {name: (compare(rows, slice(None)).argmax(1) == truth[1::2]).mean() for name, compare in ways.items()}
    assert right["whitened embedding"] > right["plain"] + 0.05, right
    assert set(right) == {"plain", *(f"whitened embedding{norm}{how}" for norm in ("", ", t-norm")
                                     for how in ("", ", nearest clip", ", mean and nearest three"))}


def test_the_ways_of_scoring_are_those_of_whitened_vectors():
    rng = np.random.default_rng(3)
    other, labels = words(rng, 50, 20)
    new, _ = words(rng, 4, 10)
    queries, pool, rows = new[1::2], new[::2], np.arange(20).reshape(4, 5)
    whiten = Whitening.fit(other, labels)
    scores = cohort.whitened(queries, pool, Reference.of_clips(other, labels))["whitened embedding"](rows, slice(3, 9))
    expected = [[whiten(q[None])[0] @ unit(whiten(pool[r]).mean(0)) for r in rows] for q in queries[3:9]]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    nearest = [[np.mean(sorted(whiten(q[None])[0] @ whiten(pool[r]).T)[-3:]) for r in rows] for q in queries[3:9]]
    both = (np.array(expected) + nearest) / 2
    ways = cohort.whitened(queries, pool, Reference.of_clips(other, labels))
    np.testing.assert_allclose(ways["whitened embedding, mean and nearest three"](rows, slice(3, 9)), both, atol=1e-5)
    reference = whiten(Reference.of_clips(other, labels).vectors)
    against = np.sort(whiten(queries[3:9]) @ reference.T, axis=1)[:, -cohort.TOP:]
    np.testing.assert_allclose(
        ways["whitened embedding, t-norm, mean and nearest three"](rows, slice(3, 9)),
        (both - against.mean(1, keepdims=True)) / against.std(1, keepdims=True), rtol=1e-3, atol=1e-4)


def test_too_few_clips_of_a_word_teach_nothing():
    rng = np.random.default_rng(4)
    vectors, labels = words(rng, 30, 20)
    once = np.unique(labels, return_index=True)[1]
    assert Whitening.fit(vectors[once], labels[once]) is None  # each word once
    few = np.flatnonzero(labels == 0)[:20]
    assert len(few) - 1 < PER_DIMENSION * D
    assert Whitening.fit(vectors[few], labels[few]) is None
    assert Whitening.fit(np.repeat(vectors[once], 20, 0), np.repeat(labels[once], 20)) is None  # copies of one clip
    assert cohort.whitened(vectors, vectors, Reference.of_clips(vectors[once], labels[once])) == {}
