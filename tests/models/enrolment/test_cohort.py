"""Scores held against a cohort: the statistics against sorting, what the norm takes away, and what makes a cohort."""

from argparse import Namespace

import numpy as np
import pytest

from data.base.errors import UserError
from data.manifests.corpus import load_corpus
from data.manifests.manifest import Utterance
from models.enrolment import cohort
from models.enrolment.cohort import choose, comparisons, find, statistics
from models.enrolment.enrol import NEAREST, by_clip, by_mean
from tests.conftest import unit, write_set


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
    for how, plain in (("", by_mean(queries, pool)), (NEAREST, by_clip(queries, pool))):
        wanted = (plain(rows, slice(None)) - asked[0][:, None]) / asked[1][:, None]
        np.testing.assert_allclose(found[f"embedding, t-norm{how}"](rows, part), wanted[part], atol=1e-4)


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
