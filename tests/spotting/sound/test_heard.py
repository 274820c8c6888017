"""Recordings in which words are missed for how they were recorded are named, by find, score and listen alike."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import soxr

from data.audio.decoding import to_int16
from spotting.encoders.load import load_torch
from spotting.listen import heard_by
from spotting.sound.heard import Heard, is_narrow
from spotting.stream import Spotter
from spotting.words.words_file import read_words
from tests.conftest import record
from tests.spotting.conftest import RATE, scene

CHANGES = {"narrow": lambda x: soxr.resample(soxr.resample(x, RATE, 8_000), 8_000, RATE),
           "loud": lambda x: np.clip(30 * x / np.abs(x).max(), -1, 1), "quiet": lambda x: 0.001 * x}
RNG = np.random.default_rng(3)
WORDS = {"narrow": "nothing above 4 kHz", "loud": "recorded too loud", "quiet": "nothing above -60 dB"}


@pytest.mark.parametrize("kind", CHANGES)
def test_such_recordings_are_named_in_one_line(run, spotter, words_file, tmp_path, capsys, kind):
    shutil.copytree(spotter.said, tmp_path / "said")
    for path in tmp_path.glob("said/*/[12].wav"):
        record(path, CHANGES[kind](soundfile.read(path)[0]), RATE)
    named = f"such as {tmp_path}/said/bed/1.wav: {WORDS[kind]}"
    error = run("spotting.find", words_file, tmp_path / "said").error
    assert f"warning: 4 of 8 recordings, {named}" in error and error.count(WORDS[kind]) == 1
    assert WORDS[kind] not in run("spotting.find", words_file, tmp_path / "said" / "bed" / "0.wav").error
    error = run("spotting.score", words_file, "--positives", tmp_path / "said", "--negatives", spotter.background).error
    assert "4 of 10 recordings, " in error and WORDS[kind] in error
    sound = to_int16(CHANGES[kind](scene(np.random.default_rng(3), [(0, 1.0), (1, 4.0)], 8.0)))
    words = read_words(words_file)
    listener = Spotter(load_torch(spotter.run, None, None, 0), words.words, 1600)
    list(heard_by(listener, np.array_split(sound, 80), words, SimpleNamespace(behind=lambda: 0.0)))
    assert capsys.readouterr().err.count(f"the microphone: {WORDS[kind]}") == 1


def test_a_narrow_band_is_no_matter_where_the_enrolled_clips_have_it(run, spotter, tmp_path):
    shutil.copytree(spotter.clips, tmp_path / "clips")
    for path in tmp_path.glob("clips/*/*.wav"):
        record(path, CHANGES["narrow"](soundfile.read(path)[0]), RATE)
    assert run("spotting.enroll", "--clips", tmp_path / "clips", "--out", tmp_path / "w.json", *spotter.flags).code == 0
    assert "4 kHz" not in run("spotting.find", tmp_path / "w.json", tmp_path / "clips").error


@pytest.mark.parametrize("gain", [0.1, 0.5, 1.5])
@pytest.mark.parametrize("rate, narrow", [(8_000, True), (11_025, False), (16_000, False)])
def test_what_came_by_8_khz_is_narrow(gain, rate, narrow):
    samples = scene(RNG, [(2, 0.1), (5, 1.0)], 2.0)
    samples = to_int16(gain * soxr.resample(soxr.resample(samples, RATE, rate), rate, RATE))
    assert is_narrow(samples) == heard(samples, 37).narrow == narrow


SCENE = scene(np.random.default_rng(3), [(2, 0.1), (5, 1.0)], 2.0)
SCENE = SCENE / np.abs(SCENE).max()


def heard(samples, parts=1):
    found = Heard()
    for part in np.array_split(samples, parts):
        found.hear(part)
    return found


@pytest.mark.parametrize("rate", [RATE, 44_100])
@pytest.mark.parametrize("gain, over", [(0.5, False), (1, False), (10, True), (30, True)])
def test_what_is_cut_off_at_full_scale_is_known_at_any_rate_and_in_parts_of_any_size(gain, over, rate):
    samples = np.clip(gain * soxr.resample(SCENE, RATE, rate), -1, 1)
    samples = to_int16(soxr.resample(samples, rate, RATE))
    assert {heard(samples, parts).cut_off for parts in (1, 37, 2_000)} == {over}


def test_what_was_made_quieter_since_is_known_and_what_is_quiet_is_neither_narrow_nor_overdriven():
    assert heard(to_int16(0.3 * np.clip(10 * SCENE, -1, 1))).cut_off
    for samples in (np.zeros(0), np.zeros(100), np.zeros(RATE), np.random.default_rng(0).integers(-1, 2, RATE)):
        assert not heard(samples.astype(np.int16)).cut_off and not is_narrow(samples.astype(np.int16))
    assert not heard(np.tile(np.array([-9, 9], np.int16), 800)).cut_off
