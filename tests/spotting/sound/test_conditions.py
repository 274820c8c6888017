"""Clips in a room and in noise, for enrolment, and noise added to recordings: as loud as asked, and repeatable."""

import numpy as np
import pytest

from data.base.errors import UserError
from spotting.sound import conditions
from spotting.sound.blocks import open_file
from spotting.sound.conditions import HALLS, IN_HALLS, SNR, WEIGHTS, Noise, heard_elsewhere, speech_power
from tests.conftest import record
from tests.spotting.conftest import RATE, scene

RNG = np.random.default_rng(2)


@pytest.fixture
def windows() -> np.ndarray:
    """Two windows (2, S) with a burst in the middle and silence around."""
    rng = np.random.default_rng(0)
    sound = np.zeros((2, 22_400))
    sound[:, 8000:14_000] = 2000 * rng.standard_normal((2, 6000))
    return np.rint(sound).astype(np.int16)


def test_a_room_comes_after_the_sound_and_keeps_its_level_and_halls_last_longer(windows, monkeypatch):
    monkeypatch.setattr(conditions, "HALLS", HALLS)
    wet, _, *halls = heard_elsewhere(windows).astype(float)
    for sound in (wet, *halls):
        assert (sound**2).sum() == pytest.approx((windows.astype(float)**2).sum(), rel=0.01)
        assert not sound[:, :7999].any() and np.abs(sound[:, 14_100:16_000]).mean() > 10
    assert len(halls) == IN_HALLS and len({sound.tobytes() for sound in halls}) == IN_HALLS
    assert np.mean([np.abs(sound[:, 20_000:]).mean() for sound in halls]) > np.abs(wet[:, 20_000:]).mean()
    assert np.allclose(np.array(WEIGHTS).sum(1), 1) and len(WEIGHTS[0]) == 1 + 2 + IN_HALLS


def test_noise_is_as_far_below_the_speech_as_asked(windows):
    for factor in (1, 2, 3):
        sound = windows * np.int16(factor)
        power = (heard_elsewhere(sound)[1].astype(float) - sound).var()
        assert 10 * np.log10((sound[:, 8000:14_000].astype(float)**2).mean() / power) == pytest.approx(SNR, abs=0.3)


def test_draws_follow_from_the_sound(windows):
    one, again, other = (heard_elsewhere(x) for x in (windows, windows.copy(), windows[::-1]))
    assert np.array_equal(one, again) and one.shape == (2 + IN_HALLS, *windows.shape) and one.dtype == np.int16
    assert (one != other[:, ::-1]).any(axis=(1, 2)).all()  # another room, another noise


def test_silence_stays_silent():
    assert not heard_elsewhere(np.zeros((1, 22_400), np.int16)).any()


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
