"""Masks on spectrograms against what they promise."""

import numpy as np
import pytest
import torch

from models.training.masks import MASKS, SpectrogramMasks


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
