"""Labels as people write them: one spelling for each, twins, and clips that have two of them."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

# Seconds to which lengths are told apart: the first words of a recording, with context, begin at one place and are not
# one clip.
SAME = 0.01
# Control characters, line ends, those that turn the direction of writing, and halves of characters: a label from a
# file may have them, and fonts have none.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def one_form(label: str) -> str:
    """A label without blanks around it, in the Unicode form NFC: an accent is the same however it was typed."""
    return (label if label.isascii() else unicodedata.normalize("NFC", label)).strip()


def has_controls(text: str) -> bool:
    """Whether a text has control characters in it, line ends and tabs too."""
    return any(unicodedata.category(c) == "Cc" for c in text)


def twins(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that differ only by case, blanks or invisible characters."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(folded(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def folded(name: str) -> str:
    """A name without what the eye hardly tells apart: case, blanks, invisible characters, Unicode's forms of a text and
    its apostrophes."""
    if name.isascii():
        return "".join(name.casefold().split())
    name = name.replace("\u2019", "'").replace("\u02bc", "'")
    name = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(c for c in name if not c.isspace() and unicodedata.category(c) != "Cf")


def joined(speakers: Sequence[str | None]) -> tuple[list[str | None], list[list[str]]]:
    """Speakers with one spelling of each, and the groups of spellings that were joined.

    Two spellings of one person in two splits would test on a speaker that was trained on.
    """
    groups = twins(sorted({speaker for speaker in speakers if speaker}))
    one = {name: group[0] for group in groups for name in group}
    return [one.get(speaker, speaker) for speaker in speakers], groups


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


def look_alike(labels: Iterable[str]) -> list[str]:
    """One line that names labels that `twins` groups; none if there are none."""
    alike = [" and ".join(map(repr, names)) for names in twins(labels)]
    more = f" and {len(alike) - 5:,} more" if len(alike) > 5 else ""
    return [f"labels that differ only by case or blanks count as different words: {', '.join(alike[:5])}{more}; give "
            "them one name if they are one"] if alike else []


def under_two_labels(manifests: Sequence) -> list[tuple[int, int, int, int]]:
    """Clips of one stretch of a file, its beginning equal and its length to 10 ms, that have different labels.

    Args:
        manifests: each a `data.manifests.Manifest`, of one list of labels or each of its own: names are compared.

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


def two_labels(manifests: Sequence) -> list[str]:
    """One line on what `under_two_labels` finds; none if that is nothing."""
    found = under_two_labels(manifests)
    if not found:
        return []
    m, i, n, j = found[0]
    one, other = manifests[m][i], manifests[n][j]
    return [f"{len(found):,} clips have two labels, as {one.path} at {one.offset:g} s: {other.label!r} in "
            f"{manifests[n].path.name}, {one.label!r} in {manifests[m].path.name}; data.check lists them"]


def visible(text: str) -> str:
    """``text`` on one line, what cannot be seen as an escape sequence."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
