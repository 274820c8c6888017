"""What is odd about the clips of a data set: speakers in two splits, clips of two labels."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from data.base.labels import folded
from data.manifests.manifest import Manifest

# Seconds to which lengths are told apart: the first words of a recording, with context, begin at one place and are not
# one clip.
SAME = 0.01


def in_two_splits(speakers: Mapping[str, Iterable[str | None]]) -> list[str]:
    """One line that tells of speakers of more than one split; none if there are none.

    Args:
        speakers: of every clip, by split.
    """
    home: dict[str, str] = {}
    both: dict[str, str] = {}  # a speaker, and where
    for split, names in speakers.items():
        for name in sorted(set(names) - {None}):
            if (first := home.setdefault(folded(name), split)) != split:
                both.setdefault(folded(name), f"{name!r} in {first} and in {split}")
    many = len(both) > 1
    return [f"{len(both):,} speaker{'s are' if many else ' is'} in two splits, as {next(iter(both.values()))}; what is "
            "measured on them does not tell how new speakers do; data.check lists them"] if both else []


def under_two_labels(manifests: Sequence[Manifest]) -> list[tuple[int, int, int, int]]:
    """Clips of one stretch of a file, its beginning equal and its length to 10 ms, that have different labels.

    Args:
        manifests: of one list of labels or each of its own: names are compared.

    Returns:
        For each such clip the positions of its manifest and of itself, and those of the first at that place.
    """
    files: dict[str, int] = {}
    names: dict[str, int] = {}
    columns = []
    for m, manifest in enumerate(manifests):
        file = np.array([files.setdefault(path, len(files)) for path in manifest.files], np.int64)[manifest.file]
        label = np.array([names.setdefault(name, len(names)) for name in manifest.labels], np.int64)[manifest.label]
        columns.append((file, label, np.full(len(manifest), m), np.arange(len(manifest)), manifest.offset,
                        np.round(manifest.duration / SAME)))
    if not columns:
        return []
    file, label, of, row, offset, length = map(np.concatenate, zip(*columns, strict=True))
    order = np.lexsort((length, offset, file))  # stable
    new = np.ones(len(order), bool)
    new[1:] = np.any([np.diff(column[order]) != 0 for column in (file, offset, length)], axis=0)
    first = order[np.flatnonzero(new)[np.cumsum(new) - 1]]  # of the same place, for each of order
    other = label[order] != label[first]
    return [(int(of[a]), int(row[a]), int(of[b]), int(row[b])) for a, b in
            zip(order[other], first[other], strict=True)]


def two_labels(manifests: Sequence[Manifest]) -> list[str]:
    """One line on what `under_two_labels` finds; none if that is nothing."""
    found = under_two_labels(manifests)
    if not found:
        return []
    m, i, n, j = found[0]
    one, other = manifests[m][i], manifests[n][j]
    return [f"{len(found):,} clips have two labels, as {one.path} at {one.offset:g} s: {other.label!r} in "
            f"{manifests[n].path.name}, {one.label!r} in {manifests[m].path.name}; data.check lists them"]
