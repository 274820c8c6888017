"""Warping against the plain recurrence, and features that a voice's loudness does not move."""

import numpy as np
import pytest
import torch

from models.enrolment import baselines
from models.enrolment.baselines import comparisons, dtw_distances, log_mels, mfcc
from tests.conftest import spoken


class Recordings:
    """What `log_mels` needs of a data set: waveforms by index."""

    def __init__(self, waveforms):
        self.waveforms = np.asarray(waveforms)

    def __getitem__(self, indices):
        return torch.from_numpy(np.rint(32768 * self.waveforms[indices]).astype(np.int16)), None


def plain(a: np.ndarray, b: np.ndarray) -> float:
    """The recurrence, cell by cell."""
    least = np.full((len(a) + 1, len(b) + 1), np.inf)
    least[0, 0] = 0
    for i in range(len(a)):
        for j in range(len(b)):
            least[i + 1, j + 1] = np.linalg.norm(a[i].astype(float) - b[j]) + min(least[i, j], least[i, j + 1],
                                                                                 least[i + 1, j])
    return least[-1, -1]


@pytest.mark.parametrize(("t", "u"), [(1, 1), (1, 6), (6, 1), (2, 9), (8, 5)])
def test_warping_equals_the_plain_recurrence(t, u):
    rng = np.random.default_rng(10 * t + u)
    queries, templates = (rng.standard_normal((n, frames, 3)).astype(np.float32) for n, frames in ((4, t), (7, u)))
    distances = dtw_distances(queries, templates)
    assert distances.dtype == np.float32
    np.testing.assert_allclose(distances, [[plain(a, b) for b in templates] for a in queries], rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def recordings():
    """Three "words", six "speakers" each."""
    rng = np.random.default_rng(1)
    return Recordings([spoken(word, rng) for word in range(3) for _ in range(6)])


def test_log_mels_have_no_mean_and_do_not_depend_on_the_batch(recordings, monkeypatch):
    together = log_mels(recordings, np.arange(18))
    assert together.shape == (18, 64, 101) and together.dtype == np.float32
    assert np.abs(together.mean(2)).max() < 1e-4
    monkeypatch.setattr(baselines, "BATCH", 4)
    np.testing.assert_allclose(log_mels(recordings, np.array([17, 3, 5, 9, 0])), together[[17, 3, 5, 9, 0]], atol=1e-5)


def test_cepstra_are_the_cosine_transform_with_mean_0_and_deviation_1(recordings):
    spectra = log_mels(recordings, np.arange(2))
    cepstra = mfcc(spectra)
    assert cepstra.shape == (2, 101, 13) and cepstra.dtype == np.float32
    assert np.abs(cepstra.mean(1)).max() < 1e-4 and np.abs(cepstra.std(1) - 1).max() < 1e-3
    for c in (1, 5, 12):
        by_hand = np.cos(np.pi * c * (np.arange(64) + 0.5) / 64) @ spectra[1]
        np.testing.assert_allclose(cepstra[1, :, c], (by_hand - by_hand.mean()) / by_hand.std(), atol=1e-3)


def test_both_baselines_tell_simple_words_apart(recordings):
    pool, tested = np.arange(18)[::2], np.arange(18)[1::2]  # three of each word
    methods = comparisons((recordings, tested), (recordings, pool))
    assert set(methods) == {"DTW of MFCC", "log-mel cosine"}
    for compare in methods.values():
        similarity = compare(np.arange(9).reshape(3, 3), slice(0, 9))
        assert np.mean(similarity.argmax(1) == np.repeat(np.arange(3), 3)) >= 8 / 9
