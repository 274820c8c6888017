"""The search for nearest words against every pair, on codes made to be alike, to tie and to differ in length."""

import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from data import nearest
from data.nearest import search


def all_pairs(weighted, spelling, top):
    """The definition, by whole tables: distance, then spelling, then index."""
    count = len(spelling)
    total = sum(weight * cdist(code, code, scorer=Levenshtein.distance, dtype=np.int64) for weight, code in weighted)
    spelled = cdist(spelling, spelling, scorer=Levenshtein.distance, dtype=np.int64)
    key = (total * 1_000 + spelled) * count + np.arange(count)
    np.fill_diagonal(key, np.iinfo(np.int64).max)
    order = np.argsort(key, axis=1)[:, :top]
    return order, np.take_along_axis(total, order, axis=1)


def texts(rng, count, letters, longest):
    return ["".join(rng.choice(list(letters), rng.integers(0, longest + 1))) for _ in range(count)]


@pytest.mark.parametrize("cells", [50, 3_000, 4_000_000])
@pytest.mark.parametrize(("count", "letters", "longest"), [(500, "ab", 3), (700, "abcdef", 9), (300, "abc", 40)])
def test_equals_all_pairs(monkeypatch, cells, count, letters, longest):
    monkeypatch.setattr(nearest, "_CELLS", cells)
    monkeypatch.setattr(nearest, "_ALIKE", 40)
    rng = np.random.default_rng(count)
    weighted = [(2, texts(rng, count, letters[:2], 4)), (2, [(code + "1" * 10)[:10] for code in texts(
        rng, count, letters, 10)]), (5, texts(rng, count, letters, longest)), (1, texts(rng, count, letters, longest))]
    spelling = texts(rng, count, "xyz", 6)
    for top in (1, 7, count - 1):
        expected, distance = all_pairs(weighted, spelling, top)
        indices, distances = search(weighted, spelling, top)
        assert indices.dtype == distances.dtype == np.int32
        np.testing.assert_array_equal(distances, distance)
        np.testing.assert_array_equal(indices, expected)


@pytest.mark.parametrize("table", [0, 100_000_000])  # whether or not a code has so few values that all are tabled
def test_few_codes_and_many_words_of_each(monkeypatch, table):
    monkeypatch.setattr(nearest, "_TABLE", table)
    monkeypatch.setattr(nearest, "_CELLS", 2_000)  # so that the words of one code alone are more
    rng = np.random.default_rng(0)
    code = rng.choice(["", "A", "AB", "B"], 400, p=[0.7, 0.1, 0.1, 0.1]).tolist()
    weighted = [(5, code), (2, code[::-1]), (1, [value + "1" for value in code])]
    spelling = texts(rng, 400, "xy", 5)
    for mine, expected in zip(search(weighted, spelling, 20), all_pairs(weighted, spelling, 20), strict=True):
        np.testing.assert_array_equal(mine, expected)


def test_one_code_is_enough():
    indices, distances = search([(3, ["A", "AB", "ABC", "Z"])], ["a", "b", "c", "d"], 2)
    assert indices.tolist() == [[1, 3], [0, 2], [1, 0], [0, 1]]
    assert distances.tolist() == [[3, 3], [3, 3], [3, 6], [3, 6]]
