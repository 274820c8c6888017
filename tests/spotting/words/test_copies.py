"""Copies of a clip are found at other levels, places and precisions; other recordings are not taken for them."""

import numpy as np
import pytest

from spotting.words.copies import copies, correlation, same_sound
from spotting.words.words_file import Clip, Word
from tests.sounds import record

RNG = np.random.default_rng(6)


def clip(tmp_path, name, samples, axis=0, windows=1):
    path = record(tmp_path / f"{name}.wav", samples, subtype="PCM_16")
    return Clip(str(path), 0.0, len(samples) / 16_000, name, np.eye(4, dtype=np.float32)[[axis] * windows])


def word(name, *clips):
    return Word(name, list(clips), 0.0, 0.1, 0.5, 0.5)


@pytest.fixture
def burst():
    return 0.1 * RNG.standard_normal(12_000)


def test_the_correlation_is_the_highest_of_all_shifts():
    a, b = RNG.standard_normal(50), RNG.standard_normal(31)
    dots = [abs(np.dot(a[max(0, s):max(0, min(50, 31 + s))], b[max(0, -s):max(0, min(31, 50 - s))]))
            for s in range(-30, 50)]
    assert correlation(a, b) == pytest.approx(max(dots) / np.linalg.norm(a) / np.linalg.norm(b))
    assert correlation(a, -3 * a) == pytest.approx(1) and correlation(a, None) == 0
    assert correlation(np.zeros(5), a) == 0


def test_copies_are_found_however_they_were_changed(tmp_path, burst):
    first = clip(tmp_path, "a", burst)
    for name, changed in (("later", np.roll(burst, 200)), ("cut", burst[500:]), ("faint", 0.2 * burst),
                          ("noisy", burst + 0.02 * RNG.standard_normal(12_000)), ("turned", -burst)):
        assert same_sound([first, clip(tmp_path, name, changed)]) == [(1, 0)]


def test_other_recordings_are_no_copies(tmp_path, burst):
    first = clip(tmp_path, "a", burst)
    assert not same_sound([first, clip(tmp_path, "b", 0.1 * RNG.standard_normal(12_000))])
    assert not same_sound([first, clip(tmp_path, "c", burst, axis=1)])  # the encoder tells them apart
    assert not same_sound([first, clip(tmp_path, "d", burst, windows=2)])
    gone = clip(tmp_path, "e", burst)
    (tmp_path / "e.wav").unlink()
    assert not same_sound([first, gone])


def test_a_copy_is_told_once_and_of_which_word(tmp_path, burst):
    a, b, c = (clip(tmp_path, name, level * burst) for name, level in (("a", 1), ("b", 0.5), ("c", 0.3)))
    lines = copies([word("bed", a, b), word("cat", c)])
    assert len(lines) == 2 and "b.wav (bed) seems to be a copy of" in lines[0] and "c.wav (cat)" in lines[1]
