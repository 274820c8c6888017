"""Recordings that are there twice are found whatever their names and formats; others are not taken for such."""

import os
import shutil

import numpy as np
import pytest
import soundfile

from data.base.errors import UserError
from spotting.sound.repeats import without_repeats
from tests.sounds import record

RNG = np.random.default_rng(4)


@pytest.fixture
def files(tmp_path):
    """Three different recordings of one length, which begin alike in two of them."""
    sounds = 0.1 * RNG.standard_normal((3, 40_000))
    sounds[1, :20_000] = sounds[0, :20_000]
    return [str(record(tmp_path / f"{i}.wav", sound, subtype="PCM_16")) for i, sound in enumerate(sounds)]


def kept(files, **how):
    lines = []
    return without_repeats(files, "--negatives", lines.append, **how), lines


def test_different_recordings_are_all_kept(files):
    assert kept(files) == (files, [])


def test_links_copies_and_other_formats_count_once(files, tmp_path):
    os.symlink(files[0], tmp_path / "link.wav")
    shutil.copy(files[1], tmp_path / "copy.wav")
    soundfile.write(tmp_path / "other.flac", *soundfile.read(files[2], dtype="int16"))
    again = [*files, files[0], *(str(tmp_path / name) for name in ("link.wav", "copy.wav", "other.flac"))]
    found, lines = kept(again)
    assert found == files
    assert lines == [f"left out 4 of --negatives that repeat another, such as {files[0]}"]


def test_recordings_of_the_words_are_left_out(files, tmp_path):
    shutil.copy(files[1], tmp_path / "copy.wav")
    found, lines = kept(files, spoken=[str(tmp_path / "copy.wav"), "gone.wav"], what="are enrolled")
    assert found == [files[0], files[2]]
    assert lines == [f"left out 1 of --negatives that are enrolled, such as {files[1]}"]
    with pytest.raises(UserError, match="--negatives: nothing is left"):
        kept(files[:2], spoken=files)


def test_what_cannot_be_read_is_kept_to_be_told_of_later(files, tmp_path):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"no sound")
    broken = [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    assert kept([*broken, *files]) == ([*broken, *files], [])
