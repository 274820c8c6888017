"""JSON-lines manifests: read, write, and what is odd about the clips of several.

A manifest has one utterance a line::

    {"audio_filepath": "yes/0a7c2a8d_nohash_0.wav", "duration": 1.0, "label": "yes", "speaker": "0a7c2a8d"}

``audio_filename`` may stand for ``audio_filepath`` and ``command`` or ``target`` for ``label``; ``offset`` (seconds,
default 0) points into a longer file; ``speaker`` is optional. Relative paths are relative to the manifest's folder, and
``~`` is the home folder. Labels are brought into one Unicode form (NFC), without blanks around them.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np

from data.base.errors import UserError, did_you_mean
from data.base.files import open_regular, without_twins, write_atomically
from data.base.labels import folded, has_controls, one_form

UNLABELLED = "_speech_"  # the class of windows whose words are not known
PATH_FIELDS = ("audio_filepath", "audio_filename")
LABEL_FIELDS = ("label", "command", "target")


@dataclass(frozen=True)
class Utterance:
    """One spoken word: ``duration`` seconds of ``path`` from ``offset`` seconds on."""

    path: str
    label: str
    duration: float
    offset: float = 0.0
    speaker: str | None = None


@dataclass
class Manifest:
    """N utterances of one split, by columns, so that millions of them fit into memory.

    Attributes:
        path: the manifest file.
        labels: class names; a class is its index in here.
        files: the distinct audio files, absolute paths.
        file, label: (N,) int32, index into ``files`` and ``labels``.
        offset, duration: (N,) float64, seconds.
        speaker: (N,) object array of str or None.
    """

    path: Path
    labels: list[str]
    files: list[str]
    file: np.ndarray
    offset: np.ndarray
    duration: np.ndarray
    label: np.ndarray
    speaker: np.ndarray

    def __len__(self) -> int:
        return len(self.file)

    def __getitem__(self, i: int) -> Utterance:
        return Utterance(self.files[self.file[i]], self.labels[self.label[i]], float(self.duration[i]),
                         float(self.offset[i]), self.speaker[i])

    def counts(self) -> np.ndarray:
        """Utterances per class, (len(labels),)."""
        return np.bincount(self.label, minlength=len(self.labels))

    def subset(self, indices: np.ndarray) -> "Manifest":
        """The utterances at ``indices``, in that order."""
        return Manifest(self.path, self.labels, self.files, self.file[indices], self.offset[indices],
                        self.duration[indices], self.label[indices], self.speaker[indices])


def read_manifest(path: str | Path, labels: Sequence[str] | None = None) -> Manifest:
    """Read a JSON-lines manifest, whose classes are ``labels``; by None, the sorted ones found.

    Raises UserError: no such file; a line that is not JSON, lacks a field or has a bad value; another label.
    """
    path = Path(path)
    folder = path.absolute().parent
    class_of = {} if labels is None else {name: i for i, name in enumerate(labels)}
    files: dict[str, int] = {}
    file, offset, duration, label, speaker = [], [], [], [], []
    for where, entry in _entries(path):
        if not (name := _label(given := _text(entry, LABEL_FIELDS, where))):
            raise UserError(f"{where}: label {given!r} is blank or has control characters in it")
        if name not in class_of:
            if labels is not None:
                raise UserError(f"{where}: label {name!r} is not one of the {len(labels)} known labels"
                                f"{did_you_mean(name, labels)}; add it to the training manifest or remove the line")
            class_of[name] = len(class_of)
        label.append(class_of[name])
        audio = os.path.normpath(folder / os.path.expanduser(_text(entry, PATH_FIELDS, where, (str,))))
        file.append(files.setdefault(audio, len(files)))
        offset.append(_seconds(entry.get("offset", 0.0), "offset", where))
        duration.append(_seconds(_field(entry, ("duration",), where), "duration", where))
        if not duration[-1]:
            raise UserError(f"{where}: duration is 0; remove this line")
        speaker.append(None if entry.get("speaker") is None else _text(entry, ("speaker",), where))
    if not file:
        raise UserError(f"{path}: this manifest has no utterances")
    if labels is None:  # sorted, whatever the order of the lines
        labels = sorted(class_of)
        rank = np.argsort(np.argsort(list(class_of)))
        label = rank[label]
    return Manifest(path, list(labels), list(files), np.asarray(file, np.int32), np.asarray(offset),
                    np.asarray(duration), np.asarray(label, np.int32), np.asarray(speaker, object))


def _entries(path: Path) -> Iterator[tuple[str, dict]]:
    """The JSON objects of a manifest, each with the file and line for a message."""
    decode = json.JSONDecoder(object_pairs_hook=without_twins).decode
    try:
        with open_regular(path, "r", encoding="utf-8-sig") as lines:  # with or without a byte-order mark
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                where = f"{path}, line {number}"
                try:
                    entry = decode(line)
                except UserError as error:
                    raise UserError(f"{where}: {error}") from None
                except (ValueError, RecursionError):
                    entry = None
                if not isinstance(entry, dict):
                    raise UserError(f"{where}: not JSON; a manifest has one JSON object a line")
                yield where, entry
    except OSError as error:
        raise UserError(f"{path}: cannot read this manifest ({error.strerror})") from error
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8") from None
    except ValueError:  # a NUL, or half a surrogate pair, which only a registry can have
        raise UserError(f"{str(path)!a}: no name that a manifest can have; mend the registry") from None


@lru_cache(20_000)
def _label(given: str) -> str:
    """A label in one form; an empty one for what can be none."""
    return "" if has_controls(name := one_form(given)) else name


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> None:
    """Write utterances as a JSON-lines manifest, atomically, with paths relative to it and fixed key order."""
    seen_from = cache(partial(relative, folder=Path(path).absolute().parent))
    with write_atomically(path) as file:
        for u in utterances:
            entry = {"audio_filepath": seen_from(u.path)}
            if u.offset:
                entry["offset"] = round(u.offset, 6)
            entry |= {"duration": round(u.duration, 6), "label": u.label}
            if u.speaker is not None:
                entry["speaker"] = u.speaker
            try:
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            except UnicodeEncodeError:
                raise UserError(f"{u.path!a} (label {u.label!a}): the name is not valid UTF-8; rename it") from None


def relative(path: str | Path, folder: Path) -> str:
    """A path as seen from a folder; as it is where there is no way, as between two drives of Windows."""
    try:
        return os.path.relpath(os.path.abspath(path), folder)
    except ValueError:
        return os.path.abspath(path)


def _field(entry: dict, names: Sequence[str], where: str):
    for name in names:
        if name in entry:
            return entry[name]
    raise UserError(f"{where}: no field {' or '.join(map(repr, names))}")


def _text(entry: dict, names: Sequence[str], where: str, types: tuple[type, ...] = (str, int)) -> str:
    """A text, or a number that stands for one (a digit as a label, a speaker's number): always as str."""
    value = _field(entry, names, where)
    text = str(value) if isinstance(value, types) and not isinstance(value, bool) else ""
    if not text or "\0" in text:
        name = next(name for name in names if name in entry)
        raise UserError(f"{where}: {name} must be a text, not {value!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{where}: {text!a} is not valid UTF-8 (half a surrogate pair); rename it") from None
    return text


def _seconds(value, name: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise UserError(f"{where}: {name} must be a number of seconds, not {value!r}")
    return float(value)


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
    """Clips of one stretch of a file that have different labels: for each the positions of its manifest and of itself,
    and those of the first at that place."""
    _, _, (file, label, of, offset, duration) = joined(manifests, real)
    first = first_alike(duration, offset, file)
    begin = np.cumsum([0, *map(len, manifests)])
    return [(int(of[a]), int(a - begin[of[a]]), int(of[b]), int(b - begin[of[b]]))
            for a, b in ((a, first[a]) for a in np.flatnonzero(label != label[first]))]
