"""Recordings that are there twice are found whatever their names, formats, levels and places; others are not.

Labels of one saying count once, those of two sayings twice.
"""

import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from data.base.errors import UserError
from spotting.words import distinct
from spotting.words.distinct import correlation, find_positives, leave_out_enrolled
from spotting.words.words_file import Clip, Word
from tests.conftest import record

RNG = np.random.default_rng(6)


@pytest.fixture
def files(tmp_path):
    """Three different recordings of one length, which begin alike in two of them."""
    sounds = 0.1 * RNG.standard_normal((3, 40_000))
    sounds[1, :20_000] = sounds[0, :20_000]
    return [str(record(tmp_path / f"{i}.wav", sound, subtype="PCM_16")) for i, sound in enumerate(sounds)]


def kept(files, **how):
    lines = []
    return distinct.without_repeats(files, "--negatives", lines.append, **how), lines


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
    return Clip(str(path), 0.0, len(samples) / 16_000, name, *3 * [np.eye(4, dtype=np.float32)[[axis] * windows]])


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
        assert distinct.same_sound([first, clip(tmp_path, name, changed)]) == [(1, 0)]
    gone = clip(tmp_path, "e", burst)
    (tmp_path / "e.wav").unlink()
    for other in (clip(tmp_path, "b", 0.1 * RNG.standard_normal(12_000)), gone,
                  clip(tmp_path, "c", burst, axis=1), clip(tmp_path, "d", burst, windows=2)):  # the encoder's verdict
        assert not distinct.same_sound([first, other])
    words = [Word(name, clips, 0.0, 0.1, 0.5, 0.5) for name, clips in (
        ("bed", [first, clip(tmp_path, "f", 0.5 * burst)]), ("cat", [clip(tmp_path, "g", 0.3 * burst)]))]
    lines = distinct.copies(words)  # each is told once, and of which word it is
    assert len(lines) == 2 and "f.wav (bed) seems to be a copy of" in lines[0] and "g.wav (cat)" in lines[1]


WORDS = [SimpleNamespace(words=[SimpleNamespace(name=name, clips=[]) for name in ("bed", "cat")])]


def counted(tmp_path, *labels):
    """(word, offset, duration) of those that are tested of as many labels in one recording, and what was said."""
    record(tmp_path / "long.wav", np.zeros(10 * 16_000), 16_000)
    (tmp_path / "link.wav").unlink(missing_ok=True)
    (tmp_path / "link.wav").symlink_to(tmp_path / "long.wav")
    lines = [{"audio_filepath": ("long.wav", "link.wav")[i % 2], "label": word, "offset": at, "duration": duration}
             for i, (word, at, duration) in enumerate((*labels, ("bed", 9.0, 0.5), ("cat", 9.0, 0.5)))]
    (tmp_path / "said.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = []
    found, stretches = leave_out_enrolled(find_positives(tmp_path / "said.json"), WORDS, 1.0, said.append)
    assert not stretches
    return [(word, start, pytest.approx(end - start)) for word, _, start, end in found[:-2]], said


@pytest.mark.parametrize("again", [(2.0, 0.6), (2.001, 0.6), (1.95, 0.7), (2.1, 0.3), (1.5, 2.0), (2.25, 0.5)])
def test_labels_of_one_saying_that_do_not_agree_to_the_sample_count_once(tmp_path, again):
    assert counted(tmp_path, ("bed", 2.0, 0.6), ("bed", *again))[0] == [("bed", 2.0, 0.6)]
    found, said = counted(tmp_path, ("bed", *again), ("bed", 2.0, 0.6))
    assert found == [("bed", *again)]
    assert any("left out 1 recordings that repeat another, such as" in line and "at 2 s" in line for line in said)


@pytest.mark.parametrize("other", [("bed", 2.6, 0.6), ("bed", 2.55, 0.6), ("bed", 1.5, 0.6), ("cat", 2.0, 0.6),
                                   ("bed", 7.0, 0.6)])
def test_two_sayings_count_twice_and_two_words_as_well(tmp_path, other):
    found, said = counted(tmp_path, ("bed", 2.0, 0.6), other)
    assert found == [("bed", 2.0, 0.6), other] and not said


def test_half_a_second_beside_a_stretch_is_heard_with_it():
    assert distinct.heard_with(("bed", "a.wav", 2.0, 2.5)) == ("a.wav", 1.5, 3.0)
    assert distinct.heard_with(("bed", "a.wav", 0.25, 0.5)) == ("a.wav", 0.0, 1.0)
    assert distinct.heard_with(("bed", "a.wav", 0.0, None)) == ("a.wav", 0.0, None)
