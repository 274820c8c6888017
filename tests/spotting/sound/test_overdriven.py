"""Recordings whose peaks are cut off are known in parts of any size."""

import numpy as np
import pytest
import soxr

from data.audio.decoding import to_int16
from spotting.sound.overdriven import Peaks
from tests.spotting.conftest import RATE, scene

SCENE = scene(np.random.default_rng(3), [(2, 0.1), (5, 1.0)], 2.0)
SCENE = SCENE / np.abs(SCENE).max()


def cut_off(samples, parts=1):
    peaks = Peaks()
    for part in np.array_split(samples, parts):
        peaks.hear(part)
    return peaks.cut_off


@pytest.mark.parametrize("rate", [RATE, 44_100])
@pytest.mark.parametrize("gain, over", [(0.5, False), (1, False), (10, True), (30, True)])
def test_what_is_cut_off_at_full_scale_is_known_at_any_rate_and_in_parts_of_any_size(gain, over, rate):
    samples = np.clip(gain * soxr.resample(SCENE, RATE, rate), -1, 1)
    samples = to_int16(soxr.resample(samples, rate, RATE))
    assert {cut_off(samples, parts) for parts in (1, 37, len(samples))} == {over}


def test_what_was_made_quieter_since_is_known_and_what_is_quiet_is_not_overdriven():
    assert cut_off(to_int16(0.3 * np.clip(10 * SCENE, -1, 1)))
    for samples in (np.zeros(0), np.zeros(RATE), np.random.default_rng(0).integers(-1, 2, RATE), np.tile([-9, 9], 800)):
        assert not cut_off(samples.astype(np.int16))
