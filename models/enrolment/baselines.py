"""What words are compared by without an encoder: warped cepstra, and log-mel spectrograms as they are.

Each takes off a band's or coefficient's mean in time, which a microphone and a voice's loudness shift. The encoders'
front end is not used: it scales bands to deviation 1, too, by which warping told fewer words apart.
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


def comparisons(test: tuple[Clips, np.ndarray], train: tuple[Clips, np.ndarray]) -> dict[str, Comparison]:
    """Both baselines by name, for test clips and a pool of train clips, each a data set and (Q,) or (P,) indices. A
    class is its nearest enrolled clip: clips that differ in tempo have no mean, and on spectrograms it was worse."""
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
    """Cepstral coefficients 0 to 12, (N, T, 13) float32, of log-mel spectrograms (N, 64, T), of deviation 1 in time."""
    import librosa

    cepstra = librosa.feature.mfcc(S=spectra, n_mfcc=CEPSTRA).swapaxes(1, 2)
    cepstra = cepstra - cepstra.mean(1, keepdims=True)
    return np.ascontiguousarray(cepstra / np.maximum(cepstra.std(1, keepdims=True), _LEAST), np.float32)


def dtw_distances(queries: np.ndarray, templates: np.ndarray, title: str | None = None) -> np.ndarray:
    """Dynamic-time-warping distance, (Q, P) float32, of queries (Q, T, F) to templates (P, U, F): the least sum of
    Euclidean frame distances along a path. ``title`` is shown by a progress bar; None shows none."""
    from librosa.sequence import dtw

    distances = np.empty((len(queries), len(templates)), np.float32)
    for query, row in zip(tqdm(queries, title, leave=False, disable=None if title else True), distances, strict=True):
        row[:] = [dtw(query.T, template.T, backtrack=False)[-1, -1] for template in templates]
    return distances
