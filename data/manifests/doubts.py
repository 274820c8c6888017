"""What is odd about the clips of a data set: speakers in two splits, clips of two labels."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from data.base.labels import folded
from data.manifests.manifest import Manifest


def in_two_splits(splits: Mapping[str, Manifest]) -> dict[str, list[str]]:
    """Lines on the speakers of several splits, by speaker, however the name is written."""
    home: dict[str, tuple[str, str]] = {}
    found: dict[str, list[str]] = {}
    for split, manifest in splits.items():
        for name in sorted(set(manifest.speaker) - {None}):
            first, other = home.setdefault(folded(name), (split, name))
            if first != split:
                spelt = "" if name == other else f"as {name!r} "
                found.setdefault(folded(name), []).append(f"speaker {other!r} is in {first} and {spelt}in {split}")
    return found


def joined(manifests: Sequence[Manifest], real: Callable[[str], str] = str
           ) -> tuple[list[str], list[str], tuple[np.ndarray, ...]]:
    """The N clips of several manifests as one: all files by their ``real`` paths, all labels, and columns, (N,).

    The columns are file, label and manifest, by their numbers; offset and duration, seconds.
    """
    files: dict[str, int] = {}
    names: dict[str, int] = {}
    parts = [np.zeros((5, 0))]
    for m, manifest in enumerate(manifests):
        file = np.array([files.setdefault(real(path), len(files)) for path in manifest.files], int)[manifest.file]
        label = np.array([names.setdefault(name, len(names)) for name in manifest.labels], int)[manifest.label]
        parts.append(np.stack([file, label, np.full(len(manifest), m), manifest.offset, manifest.duration]))
    file, label, of, offset, duration = np.concatenate(parts, 1)
    return list(files), list(names), (file.astype(int), label.astype(int), of.astype(int), offset, duration)


def first_alike(*columns: np.ndarray) -> np.ndarray:
    """(N,) the first row that is equal to each row in all columns, which are (N,)."""
    order = np.lexsort(columns)  # stable
    new = np.ones(len(order), bool)
    new[1:] = np.any([np.diff(column[order]) != 0 for column in columns], axis=0)
    first = np.empty(len(order), int)
    first[order] = order[np.flatnonzero(new)[np.cumsum(new) - 1]]
    return first


def under_two_labels(manifests: Sequence[Manifest], real: Callable[[str], str] = str
                     ) -> list[tuple[int, int, int, int]]:
    """Clips of one stretch of a file that have different labels.

    Returns:
        For each such clip the positions of its manifest and of itself, and those of the first at that place.
    """
    _, _, (file, label, of, offset, duration) = joined(manifests, real)
    first = first_alike(duration, offset, file)
    begin = np.cumsum([0, *map(len, manifests)])
    return [(int(of[a]), int(a - begin[of[a]]), int(of[b]), int(b - begin[of[b]]))
            for a, b in ((a, first[a]) for a in np.flatnonzero(label != label[first]))]


def two_labels(manifests: Sequence[Manifest]) -> list[str]:
    """One line on what `under_two_labels` finds; none if that is nothing."""
    found = under_two_labels(manifests)
    if not found:
        return []
    m, i, n, j = found[0]
    one, other = manifests[m][i], manifests[n][j]
    return [f"{len(found):,} clips have two labels, as {one.path} at {one.offset:g} s: {other.label!r} in "
            f"{manifests[n].path.name}, {one.label!r} in {manifests[m].path.name}; data.check lists them"]
