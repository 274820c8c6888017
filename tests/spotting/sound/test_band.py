"""Recordings with nothing above 4 kHz are known, whatever their level, and told where the enrolled clips have more."""

import shutil

import numpy as np
import pytest
import soundfile
import soxr

from data.audio.decoding import to_int16
from spotting.sound.band import Band, is_narrow
from tests.sounds import record
from tests.spotting.conftest import RATE, scene

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("gain", [0.1, 0.5, 1.5])
@pytest.mark.parametrize("rate, narrow", [(8_000, True), (11_025, False), (16_000, False)])
def test_what_came_by_8_khz_is_narrow(gain, rate, narrow):
    samples = scene(RNG, [(2, 0.1), (5, 1.0)], 2.0)
    samples = to_int16(gain * soxr.resample(soxr.resample(samples, RATE, rate), rate, RATE))
    assert is_narrow(samples) == narrow
    band = Band()
    for part in np.array_split(samples, 37):
        band.hear(part)
    assert band.narrow == narrow


def test_what_has_no_sound_is_not_narrow():
    for samples in (np.zeros(0), np.zeros(100), np.zeros(RATE), RNG.integers(-1, 2, RATE)):
        assert not is_narrow(samples.astype(np.int16))


def test_find_score_and_listen_say_that_such_recordings_hardly_match(run, spotter, words_file, tmp_path, capsys):
    def by_telephone(path):
        samples, rate = soundfile.read(path)
        record(path, soxr.resample(samples, rate, 8_000), 8_000)

    shutil.copytree(spotter.said, tmp_path / "said")
    shutil.copytree(spotter.clips, tmp_path / "clips")
    for path in [*tmp_path.glob("said/*/*.wav"), *tmp_path.glob("clips/*/*.wav")]:
        by_telephone(path)
    some = sorted(tmp_path.glob("said/bed/*.wav"))[:3]
    told = "have nothing above 4 kHz", "enrol from such recordings"
    error = run("spotting.find", words_file, *some, *sorted(spotter.said.glob("bed/*.wav"))).error
    assert f"3 of the 7 recordings, such as {some[0]}, {told[0]}" in error and told[1] in error
    assert error.count("4 kHz") == 1
    error = run("spotting.score", words_file, "--positives", tmp_path / "said", "--negatives", spotter.background).error
    assert f"8 of the 10 recordings, such as {tmp_path / 'said'}" in error and told[0] in error
    assert run("spotting.enroll", "--clips", tmp_path / "clips", "--out", tmp_path / "w.json", *spotter.flags).code == 0
    assert "4 kHz" not in run("spotting.find", tmp_path / "w.json", *some).error
    from spotting.encoders.load import load_torch
    from spotting.listen import hits
    from spotting.words.words_file import read_words
    for path, count in ((words_file, 1), (tmp_path / "w.json", 0)):
        sound = to_int16(soxr.resample(scene(RNG, [(0, 1.0), (1, 4.0)], 8.0)[::2], 8_000, RATE))
        list(hits(np.array_split(sound, 80), load_torch(spotter.run, None, None, 0), read_words(path).words, 1600))
        assert capsys.readouterr().err.count("the microphone has nothing above 4 kHz") == count
