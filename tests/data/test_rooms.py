"""Simulated rooms: their impulse responses against room acoustics, and what they do to clips."""

import numpy as np
import pytest
import torch

from data.augment import RT60, Reverb, impulse_responses

SAMPLES = 4000  # of a clip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def clips() -> torch.Tensor:
    return torch.randn(60, SAMPLES, generator=seeded(1)) * torch.logspace(-3, 0, 60)[:, None]


@pytest.mark.parametrize("asked", [0.15, 0.3, 0.6])
def test_energy_decays_by_60_db_in_the_time_asked_for(asked):
    """Schroeder's backward integral, its slope between 5 and 25 dB below where the late part begins (T20)."""
    responses, seconds = impulse_responses(40, 16_000, np.random.default_rng(0), (asked, asked))
    assert np.array_equal(seconds, np.full(40, asked))
    late = responses[:, 480:].astype(float)  # after all single reflections
    decay = 10 * np.log10(np.cumsum(late[:, ::-1] ** 2, 1)[:, ::-1])
    decay -= decay[:, :1]
    found = []
    for curve in decay:
        first, last = (int(np.argmax(curve < level)) for level in (-5, -25))
        found.append(-60 / (np.polyfit(np.arange(first, last) / 16_000, curve[first:last], 1)[0]))
    assert np.mean(found) == pytest.approx(asked, rel=0.05)
    assert np.allclose(found, asked, rtol=0.3)


def test_direct_path_comes_first_and_nothing_later_is_louder():
    responses, seconds = impulse_responses(300, 8000, np.random.default_rng(0))
    assert responses.dtype == np.float32 and responses.shape == (300, 8000)
    assert (responses[:, 0] >= 1).all() and (np.abs(responses).argmax(1) == 0).mean() > 0.95
    assert seconds.min() < RT60[0] + 0.05 and seconds.max() > RT60[1] - 0.05
    # A reflection or two within 10 ms, as of a desk or a wall, and silence between them before the mixing time.
    early = (responses[:, 1:32] != 0).sum(1)
    assert early.max() <= 6 and early.mean() > 0.5


def test_rooms_are_near_and_far():
    """Microphones within the critical distance and far beyond it."""
    responses, _ = impulse_responses(400, 8000, np.random.default_rng(3))
    ratio = 10 * np.log10(responses[:, 0] ** 2 / (responses[:, 1:] ** 2).sum(1))
    assert np.percentile(ratio, 10) < -3 and np.percentile(ratio, 90) > 3
    assert ratio.min() > -20 and ratio.max() < 40


def test_late_sound_is_as_loud_as_a_diffuse_field():
    """Barron & Lee, 1988: reverberant energy 31,200 T / V in units of the direct sound's at 10 m."""
    rng = np.random.default_rng(0)
    responses, seconds = impulse_responses(600, 16_000, rng, (0.4, 0.4))
    again = np.random.default_rng(0)
    room = again.uniform((2.0, 2.5, 2.2), (7.0, 8.0, 3.5), (600, 3))
    volume = room.prod(1)
    late = (responses[:, 480:].astype(float) ** 2).sum(1)
    again.uniform(0.4, 0.4, (600, 1))
    microphone, talker = (again.uniform(0.3, room - 0.3) for _ in range(2))
    talker = microphone + (talker - microphone) * again.uniform(0, 1, (600, 1))
    distance = np.linalg.norm(talker - microphone, axis=1).clip(0.3)
    from_30_ms = 31_200 * seconds / volume / 100 * 10 ** (-6 * (0.03 + distance / 343) / seconds)
    assert np.mean(late / distance**2 / from_30_ms) == pytest.approx(1, rel=0.03)


def test_clips_are_convolved_with_the_room_drawn_and_keep_their_level(clips):
    reverb = Reverb(SAMPLES, 1.0)
    wet = reverb(clips, seeded(5)).double().numpy()
    rooms = torch.randint(len(reverb.responses), (len(clips),), generator=seeded(5))
    for clip, outcome, room in zip(clips.double().numpy(), wet, rooms, strict=True):
        expected = np.convolve(clip, reverb.responses[room].double().numpy())[:SAMPLES]
        expected *= np.sqrt((clip**2).mean() / (expected**2).mean())
        assert np.abs(outcome - expected).max() < 1e-5 * np.abs(expected).max()
        assert (outcome**2).mean() == pytest.approx((clip**2).mean(), rel=1e-4)
    assert len(rooms.unique()) > 40


def test_a_word_stays_where_it_is():
    """A click's direct path does not move, and nothing comes before it."""
    click = torch.zeros(50, SAMPLES)
    click[:, 1000] = 1
    wet = Reverb(SAMPLES, 1.0)(click, seeded())
    assert (wet.abs().argmax(1) == 1000).float().mean() > 0.9
    assert wet[:, :1000].abs().max() < 1e-6


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.5, 0.4, 0.6), (1.0, 1, 1)])
def test_share_of_clips_in_a_room(probability, low, high):
    clips = torch.randn(400, 500, generator=seeded(2))
    before = clips.clone()
    wet = Reverb(500, probability)(clips, seeded())
    changed = (wet != clips).any(1)
    assert low <= changed.float().mean() <= high
    assert torch.equal(wet[~changed], clips[~changed]) and torch.equal(clips, before)


def test_a_batch_equals_its_clips_one_by_one(clips):
    reverb = Reverb(SAMPLES, 0.5)
    together = reverb(clips, seeded(7))
    for i in (0, 1, 59):
        alone = torch.zeros_like(clips)
        alone[i] = clips[i]
        torch.testing.assert_close(reverb(alone, seeded(7))[i], together[i], atol=1e-7, rtol=1e-5)


def test_the_generator_alone_decides(clips):
    reverb = Reverb(SAMPLES, 0.5)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = reverb(clips, seeded(3))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(reverb(clips, seeded(3)), first) and not torch.equal(reverb(clips, seeded(4)), first)
    assert not reverb.state_dict()  # rooms have no place in a checkpoint
