"""Flags of the tests."""


from models.runs.options.testing import each_k
from tests.models.runs.options.test_options import parsed


def test_numbers_of_neighbours_are_each_taken_once_in_order():
    for flags, ks in (([], [5]), (["--k=3"], [3]), (["--k", "10", "1", "10"], [10, 1])):
        assert each_k(parsed("infer_train", *flags)) == ks
