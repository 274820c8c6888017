"""A long recording is cut where its word is, whatever its format, and what is no recording is told."""

import numpy as np
import pytest
import soundfile

from data.folder.word_stretch import Recording, examine, loudest
from tests.sounds import RNG, noise, record


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100])
@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_loudest_is_near_the_most_energy_of_any_stretch(tmp_path, rate, extension):
    samples = noise(4.2, rate) * np.repeat(RNG.random(42), rate // 10 + 1)[:round(4.2 * rate)]
    path = record(tmp_path / f"a.{extension}", samples, rate)
    samples = soundfile.read(path)[0]
    start = loudest(str(path), 1.0)
    summed = np.concatenate([[0], np.cumsum(samples**2)])
    every = summed[rate:] - summed[:-rate]
    assert every[round(start * rate)] > 0.98 * every.max()


@pytest.mark.parametrize("begin", [0.0, 0.2, 1.7, 3.6])
def test_a_short_word_in_a_long_file_comes_to_the_centre(tmp_path, begin):
    samples = noise(4, level=0.001) + 0.3  # a zero line that is off must not count as loud
    samples[round(begin * 16_000):round((begin + 0.4) * 16_000)] += noise(0.4)
    start = loudest(str(record(tmp_path / "a.wav", samples)), 1.0)
    assert start <= begin + 0.02 and begin + 0.4 <= start + 1.02  # all of it
    if 0.3 < begin < 3.3:
        assert abs((start + 0.5) - (begin + 0.2)) < 0.03


def test_a_stretch_ends_within_the_file(tmp_path):
    for seconds in (1.0001, 1.004, 1.5, 2.0):
        path = str(record(tmp_path / "a.wav", np.linspace(0, 0.9, round(seconds * 11_025)) * noise(seconds, 11_025),
                          11_025))
        [found] = examine(([path], 1.0))
        assert found.duration == 1.0
        assert 0 <= found.offset <= found.seconds - 1.0 + 1e-9


def test_examine_tells_what_a_file_is_or_why_it_cannot_be_used(tmp_path):
    good = record(tmp_path / "a.flac", noise(0.5, 22_050), 22_050)
    (tmp_path / "notes.txt").write_text("hello")
    silent = record(tmp_path / "silent.wav", np.zeros(40_000))
    nan = noise(3)
    nan[100] = np.nan
    found = examine(([str(p) for p in (good, tmp_path / "notes.txt", silent, tmp_path / "gone.wav",
                                       record(tmp_path / "nan.wav", nan, subtype="FLOAT"))], 1.0))
    assert isinstance(found[0], Recording)
    assert (found[0].duration, found[0].rate, found[0].format) == (pytest.approx(0.5), 22_050, "FLAC")
    assert ["notes.txt" in found[1], "silent to the bit" in found[2], "no such audio" in found[3],
            "not numbers" in found[4]] == [True] * 4
