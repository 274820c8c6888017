"""Recordings that are there twice are found whatever their names, formats, levels and places; others are not."""

import os
import shutil

import numpy as np
import pytest
import soundfile

from data.base.errors import UserError
from spotting.words.copies import copies, correlation, same_sound, without_repeats
from spotting.words.words_file import Clip, Word
from tests.sounds import record

RNG = np.random.default_rng(6)


@pytest.fixture
def files(tmp_path):
    """Three different recordings of one length, which begin alike in two of them."""
    sounds = 0.1 * RNG.standard_normal((3, 40_000))
    sounds[1, :20_000] = sounds[0, :20_000]
    return [str(record(tmp_path / f"{i}.wav", sound, subtype="PCM_16")) for i, sound in enumerate(sounds)]


def kept(files, **how):
    lines = []
    return without_repeats(files, "--negatives", lines.append, **how), lines


def test_links_copies_and_other_formats_count_once(files, tmp_path):
    os.symlink(files[0], tmp_path / "link.wav")
    shutil.copy(files[1], tmp_path / "copy.wav")
    soundfile.write(tmp_path / "other.flac", *soundfile.read(files[2], dtype="int16"))
    again = [*files, files[0], *(str(tmp_path / name) for name in ("link.wav", "copy.wav", "other.flac"))]
    assert kept(again) == (files, [f"left out 4 of --negatives that repeat another, such as {files[0]}"])
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"no sound")
    broken = [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]  # kept, to be told of later
    assert kept([*broken, *files]) == ([*broken, *files], [])


def test_recordings_of_the_words_are_left_out(files, tmp_path):
    shutil.copy(files[1], tmp_path / "copy.wav")
    found, lines = kept(files, spoken=[str(tmp_path / "copy.wav"), "gone.wav"], what="are enrolled")
    assert found == [files[0], files[2]]
    assert lines == [f"left out 1 of --negatives that are enrolled, such as {files[1]}"]
    with pytest.raises(UserError, match="--negatives: nothing is left"):
        kept(files[:2], spoken=files)


def clip(tmp_path, name, samples, axis=0, windows=1):
    path = record(tmp_path / f"{name}.wav", samples, subtype="PCM_16")
    return Clip(str(path), 0.0, len(samples) / 16_000, name, np.eye(4, dtype=np.float32)[[axis] * windows])


def test_the_correlation_is_the_highest_of_all_shifts():
    a, b = RNG.standard_normal(50), RNG.standard_normal(31)
    dots = [abs(np.dot(a[max(0, s):max(0, min(50, 31 + s))], b[max(0, -s):max(0, min(31, 50 - s))]))
            for s in range(-30, 50)]
    assert correlation(a, b) == pytest.approx(max(dots) / np.linalg.norm(a) / np.linalg.norm(b))
    assert correlation(a, -3 * a) == pytest.approx(1) and correlation(a, None) == correlation(np.zeros(5), a) == 0


def test_clips_are_copies_however_they_were_changed_and_others_are_not(tmp_path):
    burst = 0.1 * RNG.standard_normal(12_000)
    first = clip(tmp_path, "a", burst)
    for name, changed in (("later", np.roll(burst, 200)), ("cut", burst[500:]), ("faint", 0.2 * burst),
                          ("noisy", burst + 0.02 * RNG.standard_normal(12_000)), ("turned", -burst)):
        assert same_sound([first, clip(tmp_path, name, changed)]) == [(1, 0)]
    gone = clip(tmp_path, "e", burst)
    (tmp_path / "e.wav").unlink()
    for other in (clip(tmp_path, "b", 0.1 * RNG.standard_normal(12_000)), gone,
                  clip(tmp_path, "c", burst, axis=1), clip(tmp_path, "d", burst, windows=2)):  # the encoder's verdict
        assert not same_sound([first, other])
    words = [Word(name, clips, 0.0, 0.1, 0.5, 0.5) for name, clips in (
        ("bed", [first, clip(tmp_path, "f", 0.5 * burst)]), ("cat", [clip(tmp_path, "g", 0.3 * burst)]))]
    lines = copies(words)  # each is told once, and of which word it is
    assert len(lines) == 2 and "f.wav (bed) seems to be a copy of" in lines[0] and "g.wav (cat)" in lines[1]
