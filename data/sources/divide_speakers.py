"""Divide speakers into train, dev and test by the share of clips they bring, so that every class is in each.

Among thirty speakers, a hash of the name alone may leave 5 or 20 % of the clips for testing. So the hash gives the
start, and swaps of speakers improve it.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from data.manifests.registry import SPLITS

SHARES = (0.8, 0.1, 0.1)  # of the clips, in the order of SPLITS
_SLACK = 0.01  # how far from its share a split may be before that counts
_GOOD = 1e-6  # no class short, and the shares met to a thousandth
_TRIES, _RESTARTS = 8_000, 4


def balanced_split(speakers: Sequence[str], counts: np.ndarray, shares: Sequence[float] = SHARES) -> np.ndarray:
    """The split of every speaker: clips close to ``shares``, and as many classes as possible in all three.

    Deterministic, and independent of the order of the speakers. A class that is missing from a split, or has there
    less than half of its share, weighs the more, the more clips it has.

    Args:
        speakers: S distinct names.
        counts: (S, W) clips of each speaker and class.
        shares: of the clips, in the order of `SPLITS`; each above 0, together 1.

    Returns:
        (S,) int, index into `SPLITS`.
    """
    order = sorted(range(len(speakers)), key=lambda s: hashlib.sha1(speakers[s].encode()).hexdigest())
    counts = np.asarray(counts, np.int32)[order]
    counts = counts[:, (counts > 0).sum(0) >= len(SPLITS)]  # the others cannot be in three splits
    if not counts.size:  # nothing to balance but the speakers themselves
        counts = np.ones((len(order), 1), np.int32)
    clips = counts.sum(1)
    total = max(int(clips.sum()), 1)
    weight = counts.sum(0, dtype=float) ** 1.5  # frequent words first, but not them alone
    weight /= max(weight.sum(), 1.0)
    per_expected = 1 / (np.asarray(shares)[:, None] * counts.sum(0))  # (3, W)

    def cost(have: np.ndarray) -> float:
        off = np.abs(have.sum(1) / total - shares)
        short = np.maximum(0.5 - have * per_expected, 0).max(0) + 0.5 * (have == 0).any(0)
        return weight @ short + 10 * np.maximum(off - _SLACK, 0).sum() + 1e-3 * off.sum()

    found = [_mend(_start(clips, total, shares), counts, cost, np.random.default_rng(seed))
             for seed in range(_RESTARTS)]
    part = min(found, key=lambda pair: pair[0])[1]
    result = np.empty(len(order), int)
    result[order] = part
    return result


def _mend(part: np.ndarray, counts: np.ndarray, cost: Callable[[np.ndarray], float],
          rng: np.random.Generator) -> tuple[float, np.ndarray]:
    """Move or swap random speakers wherever that lowers the cost; returns it and the split of each speaker."""
    have = np.stack([counts[part == s].sum(0) for s in range(len(SPLITS))])  # (3, W)
    best = cost(have)
    tries = min(_TRIES, 40 * len(part) ** 2)  # a handful of speakers has few pairs to try
    speakers = rng.integers(len(part), size=(tries, 2))
    for (first, second), alone in zip(speakers, rng.random(tries) < 0.3, strict=True):
        a, b = part[first], part[second]
        if best < _GOOD:
            break
        if a == b or (alone and (part == a).sum() == 1):
            continue
        moved = have.copy()  # `first` goes to the split of `second`, and unless `alone` the other way round
        difference = counts[first] if alone else counts[first] - counts[second]
        moved[a] -= difference
        moved[b] += difference
        if (new := cost(moved)) < best:
            have, best = moved, new
            part[first] = b
            if not alone:
                part[second] = a
    return best, part


def _start(clips: np.ndarray, total: int, shares: Sequence[float]) -> np.ndarray:
    """Each speaker in turn to the split that lacks most of its share."""
    part, filled = np.zeros(len(clips), int), np.zeros(len(SPLITS))
    for s, n in enumerate(clips):
        part[s] = np.argmax((np.asarray(shares) - filled / total) / shares)
        filled[part[s]] += n
    for split in range(1, min(len(SPLITS), len(clips))):  # a handful of speakers: no split stays empty
        if not (part == split).any():
            part[np.flatnonzero(part == 0)[-1]] = split
    return part
