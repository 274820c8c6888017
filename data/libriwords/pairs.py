"""Which TextGrid belongs to which recording, and who speaks there by the recording's name."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

# LibriSpeech's and LibriTTS's names: 84-121123-0000, 84_121123_000007_000001.
LIBRI_NAMES = r"^(?:.*/)?([^-/]+)-[^-/]+-[^-/]+\.\w+$|^(?:.*/)?(\d+)_\d+_\d+_\d+\.\w+$"

SEVERAL = "several files have its name, and none of the other kind its path"


def speaker_of(path: str, folder: str | Path, regex: re.Pattern) -> str | None:
    """The speaker of an audio file below ``folder``: the first group that fits its path in there, or None."""
    match = regex.search(_inside(path, folder))
    return next(filter(None, match.groups()), None) if match else None


def pair_up(audio: Sequence[os.DirEntry], grids: Sequence[os.DirEntry], folders: tuple[Path, Path],
            given: str | None) -> tuple[list, list]:
    """Match TextGrids with recordings by name, those of a name that several have by their paths in their folders.

    A name as LibriSpeech has them is of one utterance: further files are copies.

    Args:
        folders: of the audio, of the TextGrids.
        given: ``--speaker_regex``, if there was one.

    Returns:
        What has no partner or no speaker, as problems; and (TextGrid, audio) in order of the audio's path.
    """
    problems, pairs, regex = [], [], re.compile(given or LIBRI_NAMES)
    names = [Counter(_stem(entry) for entry in files if not re.search(LIBRI_NAMES, entry.name))
             for files in (audio, grids)]
    several = {name for counts in names for name, count in counts.items() if count > 1}
    found: list[dict[str, os.DirEntry]] = [{}, {}]
    for files, folder, by_key, second in zip((audio, grids), folders, found, (
            "second audio file of one utterance", "second TextGrid of one utterance"), strict=True):
        for entry in files:
            key = os.path.splitext(_inside(entry.path, folder))[0] if _stem(entry) in several else _stem(entry)
            if by_key.setdefault(key, entry) is not entry:
                problems.append((second, entry.path, ""))
    recordings, texts = found
    for files, others, alone in ((recordings, texts, "audio without TextGrid"),
                                 (texts, recordings, "TextGrid without audio")):
        problems += [(alone, entry.path, SEVERAL if _stem(entry) in several else "")
                     for key, entry in files.items() if key not in others]
    for key in sorted(recordings.keys() & texts.keys()):
        path = recordings[key].path
        if speaker_of(path, folders[0], regex) is None:
            problems.append(("name is not speaker-chapter-number" if given is None else
                             f"name that --speaker_regex {given!r} does not fit", path, ""))
        else:
            pairs.append((texts[key].path, path))
    return problems, sorted(pairs, key=lambda pair: pair[1])


def _stem(entry: os.DirEntry) -> str:
    return os.path.splitext(entry.name)[0]


def _inside(path: str, folder: str | Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
