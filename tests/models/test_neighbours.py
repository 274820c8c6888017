"""The k-nearest-neighbour vote against brute force, and what it refuses."""

from collections import Counter

import numpy as np
import pytest
import torch

from data.base.errors import UserError
from models import neighbours
from models.neighbours import check_finite, classify, classify_each, few_clips, knn_search, vote
from tests.conftest import manifest_of, unit


def oracle_vote(row, ties: str = "nearest") -> int:
    """One row's majority, by counting one label at a time."""
    counts = Counter(int(label) for label in row)
    tied = [int(label) for label in row if counts[int(label)] == max(counts.values())]  # of the nearest first
    return min(tied) if ties == "lowest" else tied[0]


@pytest.mark.parametrize(("n", "q", "d", "k"), [(1, 1, 1, 1), (1, 3, 4, 1), (30, 7, 8, 30), (200, 50, 45, 5),
                                                (500, 90, 64, 1), (300, 40, 45, 150)])
def test_search_finds_what_sorting_all_inner_products_finds(n, q, d, k):
    rng = np.random.default_rng(n + q + k)
    train, queries = unit(rng, n, d), unit(rng, q, d)
    similarities, indices = knn_search(train, queries, k)
    exact = queries.astype(np.float64) @ train.T.astype(np.float64)
    assert similarities.shape == indices.shape == (q, k)
    assert similarities.dtype == np.float32 and indices.dtype == np.int64
    np.testing.assert_allclose(similarities, -np.sort(-exact, axis=1)[:, :k], atol=2e-6)
    np.testing.assert_allclose(np.take_along_axis(exact, indices, 1), similarities, atol=2e-6)
    assert (np.diff(similarities, axis=1) <= 0).all()
    assert all(len(set(row)) == k for row in indices.tolist())


@pytest.mark.parametrize("cells", [1, 1000, 1 << 28])
def test_the_search_for_a_gpu_finds_what_faiss_finds(monkeypatch, cells):
    monkeypatch.setattr(neighbours, "_SIMILARITIES", cells)  # one query at a time; 3; all
    rng = np.random.default_rng(9)
    train, queries, labels = unit(rng, 300, 45), unit(rng, 50, 45), rng.integers(0, 7, 300)
    by_faiss, by_torch = (classify(train, labels, queries, 5, device) for device in (None, torch.device("cpu")))
    np.testing.assert_allclose(by_torch.similarities, by_faiss.similarities, atol=1e-6)
    np.testing.assert_array_equal(by_torch.indices, by_faiss.indices)
    np.testing.assert_array_equal(by_torch.labels, by_faiss.labels)


@pytest.mark.parametrize("ties", ["nearest", "lowest"])
def test_vote_equals_counting_by_hand(ties):
    rng = np.random.default_rng(3)
    for _ in range(40):
        classes, k, q = (int(rng.integers(1, top)) for top in (9, 12, 60))
        labels = rng.integers(0, classes, (q, k))
        np.testing.assert_array_equal(vote(labels, ties), [oracle_vote(row, ties) for row in labels])


@pytest.mark.parametrize("ties", ["nearest", "lowest"])
def test_each_k_of_one_search_is_classified_as_by_brute_force(ties, monkeypatch):
    rng = np.random.default_rng(4)
    train, queries, labels = unit(rng, 90, 8), unit(rng, 40, 8), rng.integers(0, 5, 90).astype(np.int32)
    searches = []
    search = neighbours.knn_search
    monkeypatch.setattr(neighbours, "knn_search", lambda *given: searches.append(given[2]) or search(*given))
    found = classify_each(train, labels, queries, [3, 1, 10, 40], ties=ties)
    assert list(found) == [3, 1, 10, 40] and searches == [40]
    nearest = np.argsort(-(queries.astype(np.float64) @ train.T), axis=1)
    for k, prediction in found.items():
        np.testing.assert_array_equal(prediction.labels, [oracle_vote(row, ties) for row in labels[nearest[:, :k]]])
        np.testing.assert_array_equal(prediction.indices, nearest[:, :k])
        gaps = queries[:, None].astype(np.float64) - train[prediction.indices]
        np.testing.assert_allclose(prediction.distances, (gaps ** 2).sum(-1), atol=1e-5)
        np.testing.assert_array_equal(prediction.labels, classify(train, labels, queries, k, ties=ties).labels)


def test_equally_similar_neighbours_come_in_the_order_of_their_rows():
    rng = np.random.default_rng(2)
    once = unit(rng, 10, 8)
    for train in (np.concatenate([once, once[::-1], once]), np.repeat(once, 3, 0)):
        for device in (None, torch.device("cpu")):
            similarities, indices = knn_search(train, once, 3, device)
            np.testing.assert_allclose(similarities, 1, atol=1e-6)
            for row, found in enumerate(indices):
                same = np.flatnonzero((train == once[row]).all(1))
                assert set(found) == set(same)
            equal = similarities[:, 1:] == similarities[:, :-1]
            assert (np.diff(indices)[equal] > 0).all() and equal.any()


def test_classes_with_fewer_clips_than_neighbours_are_named():
    labels = ["bed", "cat", "dog", "five", "four", "tree", "wow"]
    assert few_clips(np.array([5, 6, 5, 9, 5, 5, 7]), labels, 5) is None
    assert few_clips(np.array([5, 2, 5, 0, 5, 5, 7]), labels, 5) == (
        "fewer than k = 5 training clips vote for 2 of the 7 classes: cat (2), five (0)")
    assert few_clips(np.array([1, 2, 3, 4, 1, 1, 1]), labels, 5).endswith("four (1) and 2 more")


def test_k_out_of_range_is_named_with_the_train_set_size():
    rng = np.random.default_rng(0)
    for k in (13, 0, -4):
        with pytest.raises(UserError, match=rf"--k {k}: must be 1 to 12\b"):
            classify(unit(rng, 12, 8), np.zeros(12, int), unit(rng, 2, 8), k)


@pytest.mark.parametrize(("where", "named"), [(0, "train set"), (1, "queries")])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_embeddings_of_a_diverged_encoder_are_refused(where, named, value):
    rng = np.random.default_rng(0)
    embeddings = [unit(rng, 12, 8), unit(rng, 6, 8)]
    embeddings[where][4, 2] = value
    with pytest.raises(UserError, match=rf"1 of the {len(embeddings[where])} .*{named}.*no numbers.*clip 4.*diverged"):
        classify(embeddings[0], np.zeros(12, int), embeddings[1], 3)


def test_embeddings_without_a_direction_are_refused_and_their_clip_is_named():
    embeddings = unit(np.random.default_rng(0), 6, 8)
    clips = manifest_of([0] * 6, file=range(5, -1, -1))
    check_finite(embeddings, "test set", clips)
    embeddings[1:3] = 0
    with pytest.raises(UserError, match=r"2 of the 6 .*test set .*not of length 1 \(first: /clips/4\.wav\)"):
        check_finite(embeddings, "test set", clips)
