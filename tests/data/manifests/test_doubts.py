"""Clips of two labels are found, whatever else is at their place."""

from pathlib import Path

import numpy as np

from data.manifests.doubts import two_labels, under_two_labels
from data.manifests.manifest import Manifest


def manifest(labels, files, clips):
    """A manifest of clips (file, offset, label)."""
    file, offset, label = zip(*clips, strict=True)
    return Manifest(Path("x.json"), labels, files, np.array(file), np.array(offset, float),
                    0.5 + 0.5 * (np.arange(len(clips)) % 2), np.array(label), np.full(len(clips), None))


def test_clips_under_two_labels_against_brute_force():
    rng = np.random.default_rng(2)
    some = 0
    for _ in range(200):
        manifests = []
        for _ in range(rng.integers(1, 4)):
            count = rng.integers(1, 8)
            labels, files = list(rng.permutation(["a", "b", "c"])), list(rng.permutation(["/x", "/y", "/z"]))
            manifests.append(manifest(labels, files, [(rng.integers(3), rng.integers(3), rng.integers(3))
                                                      for _ in range(count)]))
        clips = [(m, i, one[i]) for m, one in enumerate(manifests) for i in range(len(one))]
        expected = set()
        for m, i, clip in clips:
            n, j, first = next(c for c in clips if (c[2].path, c[2].offset, c[2].duration) == (
                clip.path, clip.offset, clip.duration))
            if clip.label != first.label:
                expected.add((m, i, n, j))
        found = under_two_labels(manifests)
        assert len(found) == len(set(found))
        assert set(found) == expected
        assert bool(two_labels(manifests)) == bool(expected)
        some += bool(expected)
    assert 20 < some < 200
    assert under_two_labels([]) == []
