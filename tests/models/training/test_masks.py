"""Masks on spectrograms against what they promise."""

import pytest
import torch

from models.training.masks import MASKS, SpectrogramMasks


def _masked(masks, frames=100, seed=0, batch=200):
    ones = torch.ones(batch, 64, 112)
    return masks(ones, frames, torch.Generator().manual_seed(seed)) == 0


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


@pytest.mark.parametrize("name, least, most", [("light", 0.1, 0.2), ("full", 0.3, 0.55)])
def test_masks_differ_between_clips_and_follow_the_seed(name, least, most):
    masks = SpectrogramMasks(**MASKS[name])
    one, again, other = _masked(masks), _masked(masks), _masked(masks, seed=1)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one[0], one[1])
    assert least < one[:, :, :100].float().mean() < most
