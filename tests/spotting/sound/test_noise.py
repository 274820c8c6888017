"""Noise added to a recording is as loud as was asked for."""

import numpy as np
import pytest

from data.base.errors import UserError
from spotting.sound.blocks import open_file
from spotting.sound.noise import Noise, speech_power
from tests.sounds import record
from tests.spotting.conftest import RATE, scene

RNG = np.random.default_rng(2)


def test_noise_is_at_its_ratio_whatever_the_blocks(tmp_path):
    path = record(tmp_path / "talk.wav", scene(RNG, [(0, 0.5), (1, 2.0)], 4.0), RATE, subtype="PCM_16")
    record(tmp_path / "noise" / "hiss.wav", 0.05 * RNG.standard_normal(30_000), RATE)
    noise = Noise(tmp_path / "noise", 10.0)
    quiet = np.concatenate(list(open_file(path, pytest.fail).blocks)).astype(float)
    loud = [np.concatenate(list(noise.added_to(3, lambda b=b: open_file(path, pytest.fail, block=b)).blocks))
            for b in (0.21, 5.0)]
    assert np.array_equal(*loud)
    power = speech_power(iter([quiet.astype(np.int16)]))
    assert 10 * np.log10(power / (loud[0] - quiet).var()) == pytest.approx(10, abs=0.3)
    speech = quiet[RATE * 6 // 10:RATE]
    assert power == pytest.approx(speech.var(), rel=0.5)


@pytest.mark.parametrize("hiss", [0.2 + 0.01 * RNG.standard_normal(30_000), RNG.integers(0, 2, 30_000) / 32768])
def test_noise_with_an_offset_or_hardly_any_is_as_loud_as_asked_for(tmp_path, hiss):
    path = record(tmp_path / "talk.wav", scene(RNG, [(0, 0.5), (1, 2.0)], 4.0), RATE, subtype="PCM_16")
    record(tmp_path / "noise" / "hiss.wav", hiss, RATE, subtype="PCM_16")
    quiet = np.concatenate(list(open_file(path, pytest.fail).blocks))
    loud = np.concatenate(list(Noise(tmp_path / "noise", 0.0).added_to(3, lambda: open_file(path, pytest.fail)).blocks))
    added = loud.astype(float) - quiet
    assert 10 * np.log10(speech_power(iter([quiet])) / added.var()) == pytest.approx(0, abs=0.3)
    assert abs(added.mean()) < 0.1 * added.std()


def test_noise_of_one_value_is_refused(tmp_path):
    record(tmp_path / "noise" / "offset.wav", np.full(30_000, 0.1), RATE, subtype="PCM_16")
    with pytest.raises(UserError, match=r"offset\.wav is one value throughout"):
        Noise(tmp_path / "noise", 0.0)
