"""The front end against the original's figures, and its masks against what they promise."""

import numpy as np
import pytest
import torch

from models.frontend import MASKS, LogMel, SpectrogramMasks


@pytest.fixture(scope="module")
def noise(golden):
    waveforms = (np.random.RandomState(0).randn(4, 16000) * 0.1).astype(np.float32)
    for row, length in zip(waveforms, golden["noise_len"], strict=True):
        row[length:] = 0
    return torch.from_numpy(waveforms)


def test_meets_the_original(golden, noise):
    """Row 3 differs a little: NeMo now also silences the pre-emphasis tail past a clip's end, inside a frame."""
    spectrograms = LogMel().eval()(noise, torch.from_numpy(golden["noise_len"])).numpy()
    assert spectrograms.shape == (4, 64, 112)
    assert np.abs(spectrograms[:3] - golden["noise_spec"][:3]).max() < 1e-3
    cosine = np.vdot(spectrograms[3], golden["noise_spec"][3]) / np.linalg.norm(spectrograms[3]) / np.linalg.norm(
        golden["noise_spec"][3])
    assert cosine > 0.9999


def test_valid_frames_are_normalised_and_the_rest_is_zero(noise):
    spectrograms = LogMel().eval()(noise)
    assert torch.all(spectrograms[:, :, 100:] == 0)
    assert spectrograms[:, :, :100].mean(2).abs().max() < 1e-4
    assert (spectrograms[:2, :, :100].std(2) - 1).abs().max() < 1e-3


def test_one_clip_one_spectrogram_whatever_its_batch(noise):
    frontend = LogMel().eval()
    together = frontend(noise)
    alone = torch.cat([frontend(noise[i:i + 1]) for i in (3, 1, 0, 2)])
    assert (alone - together[[3, 1, 0, 2]]).abs().max() < 1e-5


def test_dither_only_while_training(noise):
    frontend, kept = LogMel(), noise.clone()
    frontend.eval()
    assert torch.equal(frontend(noise), frontend(noise))
    frontend.train()
    assert not torch.equal(frontend(noise), frontend(noise))
    assert torch.equal(noise, kept)  # nor does it change its argument


@pytest.mark.parametrize("seconds, frames", [(0.5, 64), (1.0, 112), (2.0, 208)])
def test_frames_of_other_lengths(seconds, frames):
    assert LogMel().eval()(torch.randn(2, round(16000 * seconds))).shape == (2, 64, frames)


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
