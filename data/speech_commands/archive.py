"""A folder in the layout of Speech Commands: ``<word>/<speaker>_nohash_<n>.wav``, and the lists that go with it."""

import gzip
import hashlib
import re
import sys
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from data.base.errors import UserError
from data.base.files import open_regular, read_text, write_atomically
from data.base.labels import look_alike
from data.manifests.manifest import Utterance
from data.sources.splits import split_of
from data.sources.word_folders import NOISE, doubt_words, find_words

Clips = dict[str, Utterance]  # by name, "word/file.wav", sorted; durations are not known yet and 0
LISTS = {"dev": "validation_list.txt", "test": "testing_list.txt"}
_SPEAKER = re.compile(r"(.+?)_nohash_")


def find_clips(root: Path, flag: str = "--root") -> Clips:
    """Every ``word/file.wav`` under ``root``. What else lies in the word folders is counted on stderr.

    Args:
        flag: what the user named the folder with, for the error messages.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the extracted archive with {flag}, or get it with --download")
    found, clips = find_words(root), {}
    found.left_out.pop("files in no word folder", None)  # the lists, a licence
    for word, path in found.files:
        folder, *inside = Path(path).relative_to(root).parts
        if folder.startswith(NOISE):
            continue
        if len(inside) == 1 and path.lower().endswith(".wav"):
            speaker = _SPEAKER.match(inside[0])
            clips[f"{folder}/{inside[0]}"] = Utterance(path, word, 0.0, speaker=speaker and speaker[1])
        else:
            found.left_out["files other than <word>/<file>.wav (see python -m data.folder)"].append(path)
    if not clips:
        raise UserError(f"{root}: no clip named <word>/<file>.wav in it; extract the archive there, or get it with "
                        "--download")
    doubt = doubt_words([(clip.label, clip.path) for clip in clips.values()], root)
    for line in (*found.remarks(), *(f"warning: {line}" for line in (*look_alike(found.folders), doubt) if line)):
        print(line, file=sys.stderr)
    return clips


def assign_splits(clips: Clips, root: Path) -> tuple[dict[str, str], str]:
    """The split of every clip, by the lists in ``root``, or by the speaker-hash rule where there are none; and a line
    that says which it was."""
    if not any((root / file).exists() for file in LISTS.values()):
        return ({name: split_of(clip.speaker or name.rpartition("/")[2]) for name, clip in clips.items()},
                f"no official lists in {root}: split by the speaker-hash rule")
    listed: dict[str, str] = {}
    for split, file in LISTS.items():
        for name in filter(None, _lines(root / file)):
            if listed.setdefault(name, split) != split:
                raise UserError(f"{root / file}: {name} is in {LISTS[listed[name]]} too; remove one of them")
    absent = len(listed.keys() - clips.keys())
    return ({name: listed.get(name, "train") for name in clips},
            "split by the official lists" + (f"; {absent:,} listed clips are not in {root}" if absent else ""))


def restrict_to_list(clips: Clips, path: Path, root: Path) -> Clips:
    """Exactly the clips that a list names, each with the content that the list says.

    Args:
        path: lines of ``word/file.wav<TAB>sha1``, the SHA-1 of the file's bytes; empty lines and ``#`` are comments.
            Packed by gzip where its name ends in ``.gz``.
    """
    expected: dict[str, str] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line or line.startswith("#"):
            continue
        name, _, sha1 = line.rpartition("\t" if "\t" in line else " ")
        if not re.fullmatch(r"[0-9a-fA-F]{40}", sha1) or not name.strip():
            raise UserError(f"{path}, line {number}: not of the form word/file.wav<TAB>sha1")
        expected[name.strip().removeprefix("./")] = sha1.lower()
    if not expected:
        raise UserError(f"{path}: names no clip")
    if missing := sorted(expected.keys() - clips.keys()):
        raise UserError(f"{root / missing[0]}: no such clip, though {path} lists it ({len(missing):,} of "
                        f"{len(expected):,} listed clips are missing); is the archive whole and the --version right?")
    wrong = [name for name, sha1 in sorted(expected.items()) if _sha1(clips[name]) != sha1]
    if wrong:
        raise UserError(f"{root / wrong[0]}: its SHA-1 is not the one in {path} ({len(wrong):,} of {len(expected):,} "
                        "listed clips differ); is this the right --version of the archive?")
    return {name: clip for name, clip in clips.items() if name in expected}


def write_list(path: Path, used: Iterable[Utterance], clips: Mapping[str, Utterance]) -> int:
    """Write those of ``clips`` that are used as a list for `restrict_to_list`; returns how many."""
    paths = {clip.path for clip in used}
    names = [name for name, clip in clips.items() if clip.path in paths]
    with write_atomically(path) as file:
        file.writelines(f"{name}\t{_sha1(clips[name])}\n" for name in sorted(names))
    return len(names)


def _sha1(clip: Utterance) -> str:
    with open_regular(clip.path) as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


def _lines(path: Path) -> list[str]:
    if path.suffix != ".gz":
        return [line.strip() for line in read_text(path, "list of clips").split("\n")]
    with open_regular(path) as file:
        try:
            return [line.strip() for line in gzip.decompress(file.read()).decode().split("\n")]
        except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not a whole gzip file of text ({error}); fetch it again") from None
