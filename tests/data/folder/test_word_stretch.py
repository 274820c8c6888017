"""A long recording is cut where its word is, whatever its format, and what is no recording is told."""

import numpy as np
import pytest
import soundfile

from data.folder.word_stretch import Recording, examine, in_tones, loudest, loudest_stretch, strongest
from tests.conftest import hiss, record


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100])
@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_loudest_is_the_stretch_of_most_energy_where_nothing_is_brief(tmp_path, rate, extension):
    levels = np.repeat([0.1, 0.5, 0.2, 1.0, 0.9, 0.3, 0.05], round(0.6 * rate))
    path = record(tmp_path / f"a.{extension}", hiss(4.2, rate)[:len(levels)] * levels, rate)
    samples = soundfile.read(path)[0]
    start = loudest(str(path), 1.0)
    summed = np.concatenate([[0], np.cumsum(samples**2)])
    every = summed[rate:] - summed[:-rate]
    assert every[round(start * rate)] > 0.95 * every.max()


@pytest.mark.parametrize("seed", range(30))
def test_loudest_stretch_against_every_stretch(seed):
    rng = np.random.default_rng(seed)
    energy = rng.random(rng.integers(50, 400)) ** rng.integers(1, 30)
    width = int(rng.integers(5, 120))
    start = loudest_stretch(energy, width)
    if len(energy) <= width:
        assert start == 0
        return
    assert 0 <= start <= len(energy) - width
    cap = max(np.sort(energy)[::-1][max(1, min(30, width // 2)) - 1], 1e-3 * energy.max())
    every = [np.minimum(energy[i:i + width], cap).sum() for i in range(len(energy) - width + 1)]
    plateau = [i for i, e in enumerate(every) if e >= 0.97 * max(every)]
    assert plateau[0] <= start <= plateau[-1]
    # Where the stretches that hold as much of the word are one run, its middle.
    if plateau[-1] - plateau[0] == len(plateau) - 1:
        assert start == (plateau[0] + plateau[-1]) // 2


@pytest.mark.parametrize("level", [0.2, 0.4, 0.8])
@pytest.mark.parametrize("where", [(0.15,), (3.8,), (0.15, 3.8), (0.02, 0.4)])
@pytest.mark.parametrize("milliseconds", [10, 30, 80])
def test_taps_and_clicks_are_no_words(tmp_path, level, where, milliseconds):
    samples = hiss(4, level=0.002)
    samples[32_000:40_000] += hiss(0.5, level=0.05) * np.hanning(8_000)  # a word of half a second at 2 s
    for begin in where:
        tap = hiss(milliseconds / 1000, level=level)
        samples[round(begin * 16_000):][:len(tap)] += tap
    start = loudest(str(record(tmp_path / "a.wav", samples)), 1.0)
    assert start <= 2.06 and start + 1.0 >= 2.44


def test_a_sound_shorter_than_a_word_is_found_too(tmp_path):
    for level in (0, 1e-4):
        samples = hiss(4, level=level)
        samples[40_000:41_600] += hiss(0.1)
        assert 1.6 < loudest(str(record(tmp_path / "a.wav", samples)), 1.0) < 2.5
    assert 0 <= loudest(str(record(tmp_path / "a.wav", np.zeros(50_000))), 1.0) <= 2.2


@pytest.mark.parametrize(("format", "subtype", "rate"), [("WAV", "GSM610", 8_000), ("WAV", "G721_32", 8_000),
                                                         ("RAW", "VOX_ADPCM", 8_000), ("WAV", "IMA_ADPCM", 16_000)])
def test_formats_that_cannot_be_sought_in_and_channels_that_cancel_each_other_out(tmp_path, format, subtype, rate):
    samples = hiss(4, rate, level=0.001)
    samples[2 * rate:5 * rate // 2] += hiss(0.5, rate)
    path = record(tmp_path / ("a.vox" if format == "RAW" else "a.wav"), samples, rate, subtype=subtype, format=format)
    assert 1.4 < loudest(str(path), 1.0) < 2.1
    path = record(tmp_path / "b.wav", np.stack([samples, -samples], 1), rate)
    assert 1.4 < loudest(str(path), 1.0) < 2.1


@pytest.mark.parametrize("begin", [0.0, 0.2, 1.7, 3.6])
def test_a_short_word_in_a_long_file_comes_to_the_centre(tmp_path, begin):
    samples = hiss(4, level=0.001) + 0.3  # a zero line that is off must not count as loud
    samples[round(begin * 16_000):round((begin + 0.4) * 16_000)] += hiss(0.4)
    start = loudest(str(record(tmp_path / "a.wav", samples)), 1.0)
    assert start <= begin + 0.02 and begin + 0.4 <= start + 1.02  # all of it
    if 0.3 < begin < 3.3:
        assert abs((start + 0.5) - (begin + 0.2)) < 0.03


def test_a_stretch_ends_within_the_file(tmp_path):
    for seconds in (1.0001, 1.004, 1.5, 2.0):
        path = str(record(tmp_path / "a.wav", np.linspace(0, 0.9, round(seconds * 11_025)) * hiss(seconds, 11_025),
                          11_025))
        [found] = examine([path], 1.0)
        assert found.duration == 1.0
        assert 0 <= found.offset <= found.seconds - 1.0 + 1e-9


def test_examine_tells_what_a_file_is_or_why_it_cannot_be_used(tmp_path):
    good = record(tmp_path / "a.flac", hiss(0.5, 22_050), 22_050)
    (tmp_path / "notes.txt").write_text("hello")
    silent = record(tmp_path / "silent.wav", np.zeros(40_000))
    nan = hiss(3)
    nan[100] = np.nan
    found = examine([str(p) for p in (good, tmp_path / "notes.txt", silent, tmp_path / "gone.wav",
                                      record(tmp_path / "nan.wav", nan, subtype="FLOAT"))], 1.0)
    assert isinstance(found[0], Recording)
    assert found[0].duration == pytest.approx(0.5)
    assert ["notes.txt" in found[1], "silent to the bit" in found[2], "no such audio" in found[3],
            "not numbers" in found[4]] == [True] * 4


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("hertz", [400, 1_000, 2_000])
@pytest.mark.parametrize("seconds", [0.2, 0.5])
def test_a_steady_tone_is_no_word(tmp_path, rate, hertz, seconds):
    samples = hiss(4, rate, level=0.002)
    word = slice(round(2 * rate), round(2.5 * rate))
    samples[word] += hiss(0.5, rate, level=0.05) * np.hanning(word.stop - word.start)
    t = np.arange(round(seconds * rate)) / rate
    first = round((1.9 - seconds - 0.2) * rate)
    samples[first:first + len(t)] += 0.5 * np.sin(2 * np.pi * hertz * t)
    start = loudest(str(record(tmp_path / "a.wav", samples, rate)), 1.0)
    assert start <= 2.06 and start + 1.0 >= 2.44
    assert abs(start + 0.5 - 2.25) < 0.1


def test_a_voice_that_glides_is_no_tone():
    t = np.arange(16_000) / 16_000
    voice = sum(np.sin(2 * np.pi * k * (180 * t + 30 * t ** 2)) / k for k in range(1, 12))
    assert not in_tones(strongest(voice[:, None], 160), 100).any()
    tone = np.sin(2 * np.pi * 880 * t)
    assert in_tones(strongest(tone[:, None], 160), 100).all()
