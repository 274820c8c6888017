"""Recordings with nothing above 4 kHz are known, whatever their level."""

import numpy as np
import pytest
import soxr

from data.audio.decoding import to_int16
from spotting.sound.band import Band, is_narrow
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
