"""Recordings that are there twice are found whatever their names; others are not taken for such."""

import os
import shutil

import numpy as np
import pytest

from data.base.errors import UserError
from spotting.sound.repeats import without_repeats
from tests.sounds import record

RNG = np.random.default_rng(4)


@pytest.fixture
def files(tmp_path):
    """Three different recordings of one length."""
    return [str(record(tmp_path / f"{i}.wav", 0.1 * RNG.standard_normal(40_000))) for i in range(3)]


def kept(files, **how):
    lines = []
    return without_repeats(files, "--negatives", lines.append, **how), lines


def test_links_and_copies_count_once_and_other_recordings_as_often_as_they_are_there(files, tmp_path):
    assert kept(files) == (files, [])
    os.symlink(files[0], tmp_path / "link.wav")
    shutil.copy(files[1], tmp_path / "copy.wav")
    found, lines = kept([*files, files[0], str(tmp_path / "link.wav"), str(tmp_path / "copy.wav")])
    assert found == files
    assert lines == [f"left out 3 of --negatives that repeat another, such as {files[0]}"]


def test_recordings_of_the_words_are_left_out(files, tmp_path):
    shutil.copy(files[1], tmp_path / "copy.wav")
    found, lines = kept(files, spoken=[str(tmp_path / "copy.wav"), "gone.wav"], what="are enrolled")
    assert found == [files[0], files[2]]
    assert lines == [f"left out 1 of --negatives that are enrolled, such as {files[1]}"]
    with pytest.raises(UserError, match="--negatives: nothing is left"):
        kept(files[:2], spoken=files)
