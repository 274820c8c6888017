"""Recordings that tests make for themselves."""

import numpy as np
import soundfile

RNG = np.random.default_rng(5)


def noise(seconds, rate=16_000, level=0.2):
    """White noise, (seconds * rate,), within full scale."""
    return np.clip(level * RNG.standard_normal(round(seconds * rate)), -1, 1)


def record(path, samples=None, rate=16_000, **how):
    """Write a recording, a tenth of a second of noise by default, with its folders; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise(0.1) if samples is None else samples, rate, **how)
    return path
