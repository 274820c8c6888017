"""Cohorts: scores held against them, what makes one, the whitening that they teach, and the files that keep them."""

import random
from argparse import Namespace

import numpy as np
import pytest

from data.base.errors import UserError
from data.manifests.corpus import load_corpus
from data.manifests.manifest import Utterance
from models.enrolment import cohort, enrol
from models.enrolment.cohort import PER_DIMENSION, Reference, Whitening, choose, comparisons, find, statistics
from models.enrolment.enrol import by_mean
from models.enrolment.kept_cohort import Cohort, pack, unpack
from spotting.encoders.gather import PER_WORD, words_to_compare
from tests.conftest import unit, write_set

D = 8


@pytest.mark.parametrize("cells", [1, 1 << 24])
@pytest.mark.parametrize("top", [1, 7, 40, 300])
def test_statistics_are_those_of_the_most_similar_clips(monkeypatch, cells, top):
    monkeypatch.setattr(cohort, "_CELLS", cells)  # a vector at a time; all at once
    rng = np.random.default_rng(top)
    vectors, others = unit(rng, 11, 6), unit(rng, 40, 6)
    means, deviations = statistics(vectors, others, top)
    for vector, mean, deviation in zip(vectors, means, deviations, strict=True):
        nearest = sorted((float(vector.astype(np.float64) @ other) for other in others), reverse=True)[:top]
        assert mean == pytest.approx(np.mean(nearest), abs=1e-6)
        assert deviation == pytest.approx(max(np.std(nearest), 1e-6), abs=1e-6)


@pytest.mark.parametrize("part", [slice(None), slice(3, 8)])
def test_comparisons_are_the_norm_of_each_plain_score_whatever_the_slice(part):
    rng = np.random.default_rng(4)
    queries, pool, others = unit(rng, 9, 8), unit(rng, 12, 8), unit(rng, 50, 8)
    rows = rng.permutation(12)[:6].reshape(2, 3)
    found, asked = comparisons(queries, pool, others, 10), statistics(queries, others, 10)
    wanted = (by_mean(queries, pool)(rows, slice(None)) - asked[0][:, None]) / asked[1][:, None]
    np.testing.assert_allclose(found["embedding, t-norm"](rows, part), wanted[part], atol=1e-4)


@pytest.fixture
def corpus(tmp_path):
    """Registered as "many": forty training clips of each of four words."""
    clips = [Utterance(str(tmp_path / word / f"{i}.wav"), word, 1.0) for word in ("Bed", "cat", "dog", "tree")
             for i in range(40)]
    return load_corpus("many", registry=write_set(tmp_path, "many", train=clips, dev=clips, test=clips))


def test_a_cohort_has_no_clip_of_an_enrolled_or_unknown_word_however_it_is_written(corpus, monkeypatch):
    chosen = choose(corpus, ["bed ", "TREE", "wow"])
    assert {chosen.labels[c] for c in chosen.label} == {"cat", "dog"} and len(chosen) == 80
    monkeypatch.setattr(cohort, "LEARN", 50)
    assert choose(corpus, ["bed", "tree"]).counts().tolist() == [0, 25, 25, 0]
    with pytest.raises(UserError, match=r"'many' has 0 training clips.*at least 30.*--cohort"):
        choose(corpus, ["bed", "cat", "dog", "tree"])


def test_the_encoders_own_training_words_are_found_or_why_not_is_said(corpus, tmp_path):
    registry = tmp_path / "manifests.json"
    args = Namespace(cohort=None, registry=registry)
    begun = {"manifest": "many", "registry": str(registry)}
    name, clips = find(args, {"arguments": begun}, ["cat"])
    assert (name, len(clips)) == ("many", 120)
    asked = Namespace(cohort="many", registry=registry)
    name, clips = find(asked, {}, ["cat"])
    assert (name, len(clips)) == ("many", 120)
    for given, config, reason in (
            (args, {}, "does not say"), (args, {"arguments": begun | {"manifest": "gone"}}, "not registered"),
            (args, {"arguments": begun | {"registry": str(tmp_path / "moved.json")}}, "moved.json"),
            (Namespace(cohort="few", registry=registry), {}, "not registered")):
        with pytest.raises(UserError, match=reason):
            find(given, config, ["cat"])


def spoken_words(rng, classes, clips):
    """Clips of words: a part common to all, the word's own place, and a wide spread in the last two directions."""
    means = rng.normal(size=(classes, D))
    spread = np.r_[np.full(D - 2, 0.3), 3.0, 3.0]
    common = np.r_[4.0, np.zeros(D - 1)]
    vectors = common + np.repeat(means, clips, 0) + rng.normal(size=(classes * clips, D)) * spread
    return enrol.unit(vectors).astype(np.float32), np.repeat(np.arange(classes), clips)


def test_the_covariance_within_classes_becomes_the_identity_but_for_the_shrinking():
    rng = np.random.default_rng(0)
    vectors, labels = spoken_words(rng, 60, 20)
    whiten = Whitening.fit(vectors, labels)
    means = np.stack([vectors[labels == c].mean(0) for c in range(60)])
    within = sum(np.cov(vectors[labels == c].T, ddof=0) * 20 for c in range(60)) / (60 * 19)  # by brute force
    np.testing.assert_allclose(whiten.centre, means.mean(0), atol=1e-6)
    shrunk = within + 0.5 * np.trace(within) / D * np.eye(D)
    np.testing.assert_allclose(whiten.factor.T @ shrunk @ whiten.factor, np.eye(D), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(whiten(vectors), axis=1), 1, atol=1e-5)


def test_words_that_it_was_not_learnt_from_are_told_apart_better():
    rng = np.random.default_rng(2)
    other, labels = spoken_words(rng, 60, 20)
    new, truth = spoken_words(rng, 20, 20)
    queries, pool = new[1::2], new[::2]
    rows = np.arange(len(pool)).reshape(20, 10)
    ways = {"plain": enrol.by_mean(queries, pool)} | cohort.whitened(queries, pool, Reference.of_clips(other, labels))
    right = {name: (compare(rows, slice(None)).argmax(1) == truth[1::2]).mean() for name, compare in ways.items()}
    assert right["whitened embedding"] > right["plain"] + 0.05, right
    assert set(right) == {"plain", *(f"whitened embedding{norm}{how}" for norm in ("", ", t-norm")
                                     for how in ("", ", mean and nearest three"))}


def test_the_ways_of_scoring_are_those_of_whitened_vectors():
    rng = np.random.default_rng(3)
    other, labels = spoken_words(rng, 50, 20)
    new, _ = spoken_words(rng, 4, 10)
    queries, pool, rows = new[1::2], new[::2], np.arange(20).reshape(4, 5)
    whiten = Whitening.fit(other, labels)
    ways = cohort.whitened(queries, pool, Reference.of_clips(other, labels))
    scores = ways["whitened embedding"](rows, slice(3, 9))
    expected = [[whiten(q[None])[0] @ enrol.unit(whiten(pool[r]).mean(0)[None])[0] for r in rows] for q in queries[3:9]]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    nearest = [[np.mean(sorted(whiten(q[None])[0] @ whiten(pool[r]).T)[-3:]) for r in rows] for q in queries[3:9]]
    both = (np.array(expected) + nearest) / 2
    np.testing.assert_allclose(ways["whitened embedding, mean and nearest three"](rows, slice(3, 9)), both, atol=1e-5)
    reference = whiten(Reference.of_clips(other, labels).vectors)
    against = np.sort(whiten(queries[3:9]) @ reference.T, axis=1)[:, -cohort.TOP:]
    np.testing.assert_allclose(
        ways["whitened embedding, t-norm, mean and nearest three"](rows, slice(3, 9)),
        (both - against.mean(1, keepdims=True)) / against.std(1, keepdims=True), rtol=1e-3, atol=1e-4)


def test_too_few_clips_of_a_word_teach_nothing():
    rng = np.random.default_rng(4)
    vectors, labels = spoken_words(rng, 30, 20)
    once = np.unique(labels, return_index=True)[1]
    assert Whitening.fit(vectors[once], labels[once]) is None  # each word once
    few = np.flatnonzero(labels == 0)[:20]
    assert len(few) - 1 < PER_DIMENSION * D
    assert Whitening.fit(vectors[few], labels[few]) is None
    assert Whitening.fit(np.repeat(vectors[once], 20, 0), np.repeat(labels[once], 20)) is None  # copies of one clip
    assert cohort.whitened(vectors, vectors, Reference.of_clips(vectors[once], labels[once])) == {}


def test_a_damaged_file_is_told_never_a_traceback():
    rng, windows = random.Random(0), np.eye(8).repeat(40, axis=0)
    whole, refused = pack(windows, [str(i) for i in range(320)], "f"), 0
    assert np.allclose(unpack(whole, "f", 8).embeddings, windows)
    for _ in range(100):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        found = unpack(bytes(content), "f", 8)
        assert isinstance(found, Cohort | str)
        refused += isinstance(found, str)
    assert refused > 50


def test_a_whitening_is_kept_and_read_back():
    windows = np.eye(8).repeat(40, axis=0)
    factor = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    whitening = Whitening(np.full(8, 0.1, np.float32), factor)
    found = unpack(pack(windows, ["a"] * 320, "f", whitening), "f", 8)
    assert np.allclose(found.plain, windows)
    wanted = (windows - 0.1) @ factor
    assert np.allclose(found.embeddings, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-5)
    assert unpack(pack(windows, ["a"] * 320, "f"), "f", 8).whitening is None


@pytest.mark.parametrize("centre, factor", [
    (np.zeros(7), np.eye(8)), (np.full(8, np.nan), np.eye(8)), (np.zeros(8), np.zeros((8, 8)))])
def test_a_whitening_that_cannot_be_right(centre, factor):
    assert unpack(pack(np.eye(8), ["a"] * 8, "f", Whitening(centre, factor)), "f", 8) == "is damaged"


@pytest.mark.parametrize("windows", [30, 50, 51, 120])
def test_a_windows_own_level_is_without_itself_however_few_there_are(windows):
    x = unit(np.random.default_rng(0), windows, 8)
    similar = x @ x.T
    wanted = [np.sort(np.delete(row, i))[-50:].mean() for i, row in enumerate(similar)]
    assert np.allclose(Cohort(x, [""] * windows, "", b"").own_levels, wanted, atol=1e-6)


def test_words_to_compare_are_said_twice_long_enough_and_not_too_often():
    spoken = {"a": [(0.0, 0.4, "once"), (1.0, 1.4, "twice"), (2.0, 2.1, "short"), (3.0, 3.1, "short")],
              "b": [(0.1, 0.3, "twice"), *((float(i), i + 0.5, "often") for i in range(1, 500))],
              "lost": [(0.0, 0.5, "twice")]}
    found = words_to_compare(spoken, {"a": 5.0, "b": 500.0}, 1.0, np.random.default_rng(0))
    twice = [(file, start) for file, start, word in found if word == "twice"]
    assert [file for file, _ in twice] == ["a", "b"]
    assert np.allclose([start for _, start in twice], [0.7, -0.3])
    assert sum(word == "often" for *_, word in found) == PER_WORD
    assert {word for *_, word in found} == {"twice", "often"}
