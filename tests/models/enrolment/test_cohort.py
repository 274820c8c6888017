"""Scores held against a cohort: the statistics against sorting, what each norm takes away, and what makes a cohort."""

from argparse import Namespace

import numpy as np
import pytest

from data.base.errors import UserError
from data.manifests.corpus import load_corpus
from data.manifests.manifest import Utterance, write_manifest
from data.manifests.registry import register
from models.enrolment import cohort
from models.enrolment.cohort import choose, comparisons, find, s_norm, statistics, t_norm, z_norm
from models.enrolment.enrol import NEAREST, by_clip, by_mean


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    x = rng.standard_normal(shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


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


def test_norms_against_their_definitions_one_score_at_a_time():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((5, 3))
    models, clips = ((rng.standard_normal(n), rng.uniform(0.1, 2, n)) for n in (3, 5))
    z, t, s = z_norm(scores, models), t_norm(scores, clips), s_norm(scores, models, clips)
    for q, c in np.ndindex(5, 3):
        assert z[q, c] == pytest.approx((scores[q, c] - models[0][c]) / models[1][c])
        assert t[q, c] == pytest.approx((scores[q, c] - clips[0][q]) / clips[1][q])
        assert s[q, c] == pytest.approx((z[q, c] + t[q, c]) / 2)


def test_z_norm_takes_away_what_is_a_words_own_and_t_norm_what_is_a_clips_own():
    rng = np.random.default_rng(1)
    scores, models, clips = rng.standard_normal((6, 4)), (np.zeros(4), np.ones(4)), (np.zeros(6), np.ones(6))
    shift, scale = rng.standard_normal(4), rng.uniform(0.5, 2, 4)
    np.testing.assert_allclose(z_norm(scores * scale + shift, (shift, scale)), z_norm(scores, models))
    shift, scale = rng.standard_normal(6), rng.uniform(0.5, 2, 6)
    np.testing.assert_allclose(t_norm(scores * scale[:, None] + shift[:, None], (shift, scale)), t_norm(scores, clips))
    np.testing.assert_array_equal(t_norm(scores, (shift, scale)).argmax(1), scores.argmax(1))  # the word stays


def test_comparisons_are_the_norms_of_the_plain_scores_whatever_the_slice():
    rng = np.random.default_rng(2)
    queries, pool, others = unit(rng, 20, 8), unit(rng, 12, 8), unit(rng, 50, 8)
    rows = np.arange(12).reshape(3, 4)
    plain = by_mean(queries, pool)(rows, slice(None))
    models = np.stack([pool[each].mean(0) / np.linalg.norm(pool[each].mean(0)) for each in rows])
    of_models, of_clips = statistics(models, others, 10), statistics(queries, others, 10)
    found = comparisons(queries, pool, others, 10)
    for method, wanted in (("embedding, z-norm", z_norm(plain, of_models)),
                           ("embedding, t-norm", t_norm(plain, of_clips)),
                           ("embedding, s-norm", s_norm(plain, of_models, of_clips))):
        np.testing.assert_allclose(found[method](rows, slice(None)), wanted, atol=1e-4)
        np.testing.assert_allclose(found[method](rows, slice(5, 9)), wanted[5:9], atol=1e-4)


@pytest.mark.parametrize("part", [slice(None), slice(3, 8)])
def test_the_nearest_clip_is_the_best_of_each_enrolled_clips_own_scores(part):
    rng = np.random.default_rng(4)
    queries, pool, others = unit(rng, 9, 8), unit(rng, 12, 8), unit(rng, 50, 8)
    rows = rng.permutation(12)[:6].reshape(2, 3)
    found = comparisons(queries, pool, others, 10) | {"plain": by_clip(queries, pool)}
    mean, deviation = (dict(enumerate(of)) for of in statistics(pool, others, 10))
    asked = statistics(queries, others, 10)
    for method, norm in (("plain", lambda s, p, q: s),
                         ("embedding, z-norm", lambda s, p, q: (s - mean[p]) / deviation[p]),
                         ("embedding, t-norm", lambda s, p, q: (s - asked[0][q]) / asked[1][q]),
                         ("embedding, s-norm", lambda s, p, q: ((s - mean[p]) / deviation[p]
                                                                + (s - asked[0][q]) / asked[1][q]) / 2)):
        scores = found[method + NEAREST * (method != "plain")](rows, part)
        wanted = [[max(norm(float(queries[q] @ pool[p]), p, q) for p in clips) for clips in rows] for q in range(9)]
        np.testing.assert_allclose(scores, np.array(wanted)[part], atol=1e-4)


def test_one_threshold_serves_a_word_that_many_resemble_and_one_that_none_does():
    """Unknown clips lie near the crowded word, as the cohort does: plain scores cannot be cut for both, normed ones
    can."""
    rng = np.random.default_rng(3)
    axes = np.eye(8, dtype=np.float32)
    crowd = axes[0] + 0.7 * axes[2]

    def around(centre, count, spread):
        x = centre + spread * rng.standard_normal((count, 8)).astype(np.float32)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    pool = np.concatenate([around(axes[0], 4, 0.02), around(axes[1], 4, 0.02)])
    queries = np.concatenate([around(axes[0], 40, 0.05), around(axes[1], 40, 0.45), around(crowd, 80, 0.1)])
    others = np.concatenate([around(crowd, 200, 0.1), around(axes[5], 200, 0.3)])
    rows = np.arange(8).reshape(2, 4)
    known = np.arange(160) < 80

    def least_error(scores):
        best = scores.max(1)
        return min(np.mean(best[known] < t) + np.mean(best[~known] >= t) for t in best)

    plain = least_error(by_mean(queries, pool)(rows, slice(None)))
    normed = least_error(comparisons(queries, pool, others, 100)["embedding, z-norm"](rows, slice(None)))
    assert normed < 0.5 * plain


@pytest.fixture
def corpus(tmp_path):
    """Registered as "many": forty training clips of each of four words."""
    def utterances():
        return [Utterance(str(tmp_path / word / f"{i}.wav"), word, 1.0) for word in ("Bed", "cat", "dog", "tree")
                for i in range(40)]
    for split in ("train", "dev", "test"):
        write_manifest(tmp_path / f"{split}.json", utterances())
    register("many", **{split: tmp_path / f"{split}.json" for split in ("train", "dev", "test")},
             registry=tmp_path / "manifests.json")
    return load_corpus("many", registry=tmp_path / "manifests.json")


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
    for config, reason in (({}, "does not say"), ({"arguments": [1]}, "does not say"),
                           ({"arguments": begun | {"registry": 3}}, "does not say"),
                           ({"arguments": begun | {"manifest": "gone"}}, "not registered"),
                           ({"arguments": begun | {"registry": str(tmp_path / "moved.json")}}, "moved.json")):
        assert reason in find(args, config, ["cat"])
    (tmp_path / "train.json").unlink()
    assert "no such file" in find(args, {"arguments": begun}, ["cat"])


def test_a_cohort_that_is_asked_for_must_be_there(corpus, tmp_path):
    args = Namespace(cohort="many", registry=tmp_path / "manifests.json")
    name, clips = find(args, {}, ["cat"])
    assert (name, len(clips)) == ("many", 120)
    args.cohort = "few"
    with pytest.raises(UserError, match="not registered"):
        find(args, {}, ["cat"])
