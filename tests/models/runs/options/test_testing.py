"""Flags of the tests."""

import pytest

from models.runs.options.testing import each_k
from tests.models.runs.options.test_options import parsed


def test_numbers_of_neighbours_are_each_taken_once_in_order():
    for flags, ks in (([], [5]), (["--k=3"], [3]), (["--k", "10", "1", "10"], [10, 1])):
        assert each_k(parsed("infer_train", *flags)) == ks


def test_pictures_of_embeddings_are_asked_for_where_embeddings_are_tested(capsys):
    assert (parsed("infer_train").plot, parsed("infer_train", "--plot").plot) == (False, True)
    with pytest.raises(SystemExit) as stop:
        parsed("infer_notl", "--cl_name=b", "--plot")
    assert stop.value.code == 2
    assert "--plot" in capsys.readouterr().err


def test_help_says_which_of_an_encoders_steps_is_tested(capsys):
    for script, step in (("infer_train", "the newest"), ("infer_notl", "the one that the head was trained on or with")):
        with pytest.raises(SystemExit):
            parsed(script, "--help")
        assert f"step of the encoder's checkpoint (default: {step})" in " ".join(capsys.readouterr().out.split())
