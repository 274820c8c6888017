"""Masks on spectrograms against what they promise; warped mel filters against the front end's and the paper's map."""

import numpy as np
import pytest
import torch

from models.encoders.frontend import LogMel
from models.training.masks import MASKS, WARP, SpectrogramMasks, VocalTracts, warp, warped_filters


def _masked(masks, frames=100, seed=0, batch=200):
    ones = torch.ones(batch, 64, 112)
    return masks(ones, masks.draw(batch, 64, frames, torch.Generator().manual_seed(seed), ones.device)) == 0


def test_bands_stretches_and_rectangles_have_their_sizes():
    bands = _masked(SpectrogramMasks((1, 15), (0, 1), (0, 1, 1)))
    assert torch.equal(bands.any(2), bands.all(2))  # over all frames
    assert bands[:, :, 0].sum(1).unique().tolist() == list(range(16))
    stretches = _masked(SpectrogramMasks((0, 1), (1, 25), (0, 1, 1)))
    assert torch.equal(stretches.any(1), stretches.all(1))  # over all bands
    assert stretches[:, 0].sum(1).max() == 25
    assert not stretches[:, :, 100:].any()  # inside the valid frames
    rectangles = _masked(SpectrogramMasks((0, 1), (0, 1), (1, 15, 25)))
    assert rectangles.any(2).sum(1).max() == 15
    assert rectangles.any(1).sum(1).max() == 25
    assert torch.equal(rectangles, rectangles.any(2)[:, :, None] & rectangles.any(1)[:, None, :])


def _chance(largest: int, size: int) -> np.ndarray:
    """How likely each of ``size`` positions is in a span of 0 to ``largest``, by enumeration."""
    chance = np.zeros(size)
    for span in range(largest + 1):
        for start in range(size - span + 1):
            chance[start:start + span] += 1 / (largest + 1) / (size - span + 1)
    return chance


def test_the_originals_masks_hide_their_share_of_every_cell():
    """2 bands of up to 15 mels, 2 stretches of up to 25 frames and 5 rectangles of up to 15 x 25, independent."""
    band, stretch = _chance(15, 64)[:, None], _chance(25, 100)
    expected = 1 - (1 - band) ** 2 * (1 - stretch) ** 2 * (1 - band * stretch) ** 5
    found = _masked(SpectrogramMasks(**MASKS["full"]), batch=4000)[:, :, :100].float().mean(0).numpy()
    assert abs(expected.mean() - 0.44) < 0.005
    assert abs(found.mean() - expected.mean()) < 0.005
    assert (np.abs(found - expected) < 5 * np.sqrt(expected * (1 - expected) / 4000)).all()


@pytest.mark.parametrize("name, least, most", [("light", 0.1, 0.2), ("full", 0.3, 0.55)])
def test_masks_differ_between_clips_and_follow_the_seed(name, least, most):
    masks = SpectrogramMasks(**MASKS[name])
    one, again, other = _masked(masks), _masked(masks), _masked(masks, seed=1)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one[0], one[1])
    assert least < one[:, :, :100].float().mean() < most


@pytest.fixture(scope="module")
def frontend():
    return LogMel().eval()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_warp_of_one_is_the_front_ends_filters(frontend):
    assert (warped_filters(1.0) - frontend.filters).abs().max() < 1e-6 * frontend.filters.max()


@pytest.mark.parametrize("factor", [1 - WARP, 0.95, 1.0, 1.1, 1 + WARP])
def test_the_map_multiplies_speech_and_keeps_both_ends(factor):
    hertz = torch.linspace(0, 8000, 801, dtype=torch.float64)
    warped = warp(hertz, factor)
    assert (warped.diff() > 0).all() and warped[0] == 0 and warped[-1] == pytest.approx(8000)
    assert torch.allclose(warped[hertz < 4000], hertz[hertz < 4000] * factor)
    assert warped.diff().max() < 10 * 1.5  # no jump at the knee


@pytest.mark.parametrize("factor", [1 - WARP, 1 + WARP])
def test_a_tone_is_seen_where_its_warped_frequency_was(frontend, factor):
    """Filters moved up by a factor see what the front end's see in a clip whose tone lies lower by it."""
    t = torch.arange(16_000) / 16_000
    for hertz in (400, 1000, 3000):
        tones = torch.stack([torch.sin(2 * torch.pi * hertz * t), torch.sin(2 * torch.pi * hertz / factor * t)])
        power = torch.stft(tones, 512, 160, 400, frontend.window, return_complex=True).abs().square().mean(2)
        seen = (power[0] @ warped_filters(factor).float().T).argmax()
        assert abs(seen - (power[1] @ frontend.filters.T).argmax()) <= 1


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.5, 0.4, 0.55), (1.0, 0.9, 1)])
def test_share_of_clips_warped(frontend, probability, low, high):
    """One factor of all is 1, which changes filters by rounding alone."""
    drawn = VocalTracts(frontend.filters, probability)(500, seeded())
    changed = ((drawn - frontend.filters).abs() > 1e-6).flatten(1).any(1)
    assert low <= changed.float().mean() <= high
    assert torch.equal(drawn, VocalTracts(frontend.filters, probability)(500, seeded()))


def test_clips_are_seen_through_their_own_filters(frontend):
    """In a batch of several parts, as the CPU takes it."""
    clips = torch.randn(40, 8000, generator=seeded(1))
    tracts = VocalTracts(frontend.filters, 0.5)
    filters = tracts(len(clips), seeded())
    together = frontend(clips, filters=filters)
    for i in (0, 17, 39):
        one = LogMel().eval()
        one.filters = filters[i]
        assert (one(clips[i:i + 1]) - together[i]).abs().max() < 1e-4
    own = VocalTracts(frontend.filters, 0.0)(len(clips), seeded())
    assert (frontend(clips, filters=own) - frontend(clips)).abs().max() < 1e-4


def test_a_state_dict_has_none_of_it(frontend):
    assert not VocalTracts(frontend.filters, 1.0).state_dict()
