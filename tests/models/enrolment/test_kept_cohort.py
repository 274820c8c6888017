"""A cohort's file is read back, or what is wrong with it is said."""

import random

import numpy as np
import pytest

from models.enrolment.kept_cohort import Cohort, pack, unpack
from models.enrolment.whiten import Whitening
from spotting.encoders.gather import PER_WORD, words_to_compare


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
    x = np.random.default_rng(0).normal(size=(windows, 8)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
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
