"""What words are compared by without an encoder: warped cepstra, and log-mel spectrograms as they are.

Each takes off a band's or coefficient's mean in time, which a microphone and a voice's loudness shift. The encoders'
front end is not used: it scales every mel band to deviation 1 too, by which warping told fewer words apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from models.enrolment.enrol import Comparison, by_nearest

if TYPE_CHECKING:
    from data.dataset import Clips

BATCH = 64  # clips transformed at once
MELS, CEPSTRA = 64, 13
WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 and 10 ms
_FLOOR = 1e-5  # of a band's power, before its logarithm: quiet noise is not told apart
_LEAST = 1e-9  # a length or deviation below this is none
_PAIRS = 128  # warped at once: their cells stay in a core's cache


def comparisons(test: tuple[Clips, np.ndarray], train: tuple[Clips, np.ndarray]) -> dict[str, Comparison]:
    """Both baselines by name, for test clips and a pool of train clips, each a data set and (Q,) or (P,) indices.

    A class is its nearest enrolled clip: clips that differ in tempo have no mean, and on spectrograms it was worse.
    """
    queries, templates = log_mels(*test), log_mels(*train)
    return {"DTW of MFCC": by_nearest(-dtw_distances(mfcc(queries), mfcc(templates), title="warping")),
            "log-mel cosine": by_nearest(cosines(queries, templates))}


def log_mels(clips: Clips, indices: np.ndarray) -> np.ndarray:
    """Log-mel spectrograms of the clips at ``indices``, each band's mean taken off: (N, 64, T) float32."""
    import librosa

    from data.audio.decoding import SAMPLE_RATE

    parts = []
    for start in range(0, len(indices), BATCH):
        waveforms = clips[indices[start:start + BATCH]][0].numpy() / np.float32(32768)
        power = librosa.feature.melspectrogram(y=waveforms, sr=SAMPLE_RATE, n_fft=FFT, win_length=WINDOW,
                                               hop_length=HOP, n_mels=MELS)
        spectra = np.log(power + np.float32(_FLOOR))
        parts.append(spectra - spectra.mean(2, keepdims=True))
    return np.concatenate(parts)


def cosines(queries: np.ndarray, templates: np.ndarray) -> np.ndarray:
    """Cosine similarity, (Q, P) float32, of spectrograms (Q, 64, T) and (P, 64, T) taken as vectors."""
    left, right = (spectra.reshape(len(spectra), -1) for spectra in (queries, templates))
    lengths = [np.maximum(np.linalg.norm(vectors, axis=1), _LEAST) for vectors in (left, right)]
    return left @ right.T / lengths[0][:, None] / lengths[1]


def mfcc(spectra: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients 0 to 12 of log-mel spectrograms (N, 64, T), each with deviation 1 in time.

    Returns:
        (N, T, 13) float32.
    """
    import librosa

    cepstra = librosa.feature.mfcc(S=spectra, n_mfcc=CEPSTRA).swapaxes(1, 2)
    cepstra = cepstra - cepstra.mean(1, keepdims=True)
    return np.ascontiguousarray(cepstra / np.maximum(cepstra.std(1, keepdims=True), _LEAST), np.float32)


def dtw_distances(queries: np.ndarray, templates: np.ndarray, title: str | None = None) -> np.ndarray:
    """Dynamic-time-warping distance of every query to every template.

    The least sum of Euclidean frame distances along a path from both first to both last frames that goes on by one
    frame in either or in both. Many pairs are warped at once, an anti-diagonal at a time, whose cells do not depend
    on one another.

    Args:
        queries: (Q, T, F) float32.
        templates: (P, U, F) float32.
        title: shown by a progress bar; None shows none.

    Returns:
        (Q, P) float32. Time is in proportion to Q P T U.
    """
    distances = np.empty((len(queries), len(templates)), np.float32)
    # One matrix product gives every squared distance of frames: (-2 q, q.q, 1) times (t, 1, t.t).
    left = np.concatenate([-2 * queries, _squares(queries), np.ones_like(queries[..., :1])], 2)  # (Q, T, F + 2)
    right = np.concatenate([templates, np.ones_like(templates[..., :1]), _squares(templates)], 2)  # (P, U, F + 2)
    with tqdm(total=distances.size, desc=title, unit=" pairs", unit_scale=True, leave=False,
              disable=None if title else True) as progress:
        for start in range(0, len(templates), _PAIRS):
            frames = np.ascontiguousarray(right[start:start + _PAIRS].transpose(2, 1, 0))  # (F + 2, U, B)
            cost = np.empty((queries.shape[1], *frames.shape[1:]), np.float32)  # (T, U, B), reused: it is large
            for query, row in zip(left, distances[:, start:start + _PAIRS], strict=True):
                np.matmul(query, frames.reshape(len(frames), -1), out=cost.reshape(len(cost), -1))
                np.sqrt(np.maximum(cost, 0, out=cost), out=cost)  # rounding may leave a square just below 0
                row[:] = _warp(cost)
                progress.update(len(row))
    return distances


def _squares(frames: np.ndarray) -> np.ndarray:
    """Squared lengths (..., 1) of frames (..., F)."""
    return (frames ** 2).sum(-1, keepdims=True)


def _warp(cost: np.ndarray) -> np.ndarray:
    """The least sums (B,) along paths through the cells (T, U, B)."""
    rows, columns, pairs = cost.shape
    cells = cost.reshape(rows * columns, pairs)
    # Least sums on the anti-diagonals i + j = d, d - 1 and d - 2, by i + 1; what lies outside is never reached.
    now, last, before = np.full((3, rows + 1, pairs), np.inf, cost.dtype)
    now[1] = cells[0]
    for d in range(1, rows + columns - 1):
        now, last, before = before, now, last
        low, high = max(0, d - columns + 1), min(d, rows - 1) + 1
        reached = now[low + 1:high + 1]
        np.minimum(last[low:high], last[low + 1:high + 1], out=reached)  # from (i - 1, j), (i, j - 1)
        np.minimum(reached, before[low:high], out=reached)
        # Cell (i, d - i) is number i * columns + d - i. With one column, i = d is all there is.
        first = low * columns + d - low
        reached += cells[first:first + (high - low - 1) * (columns - 1) + 1:columns - 1 or 1]
    return now[rows]
