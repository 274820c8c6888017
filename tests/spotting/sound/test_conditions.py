"""Clips in a room and in noise, for enrolment: as loud as asked, the same for the same sound."""

import numpy as np
import pytest

from spotting.sound.conditions import SNR, heard_elsewhere


@pytest.fixture
def windows() -> np.ndarray:
    """Two windows (2, S) with a burst in the middle and silence around."""
    rng = np.random.default_rng(0)
    sound = np.zeros((2, 22_400))
    sound[:, 8000:14_000] = 2000 * rng.standard_normal((2, 6000))
    return np.rint(sound).astype(np.int16)


def test_a_room_comes_after_the_sound_and_keeps_its_level(windows):
    wet, _ = heard_elsewhere(windows).astype(float)
    assert (wet**2).sum() == pytest.approx((windows.astype(float)**2).sum(), rel=0.01)
    assert not wet[:, :7999].any() and np.abs(wet[:, 14_100:16_000]).mean() > 10


def test_noise_is_as_far_below_the_speech_as_asked(windows):
    for factor in (1, 2, 3):
        sound = windows * np.int16(factor)
        power = (heard_elsewhere(sound)[1].astype(float) - sound).var()
        assert 10 * np.log10((sound[:, 8000:14_000].astype(float)**2).mean() / power) == pytest.approx(SNR, abs=0.3)


def test_draws_follow_from_the_sound(windows):
    one, again, other = (heard_elsewhere(x) for x in (windows, windows.copy(), windows[::-1]))
    assert np.array_equal(one, again) and one.shape == (2, *windows.shape) and one.dtype == np.int16
    assert (one != other[:, ::-1]).any(axis=(1, 2)).all()  # another room, another noise


def test_silence_stays_silent():
    assert not heard_elsewhere(np.zeros((1, 22_400), np.int16)).any()
