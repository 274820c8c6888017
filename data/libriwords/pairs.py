"""Which TextGrid belongs to which recording, and who speaks there by the recording's name."""

import os
import re
from pathlib import Path

# LibriSpeech's and LibriTTS's names: 84-121123-0000, 84_121123_000007_000001.
LIBRI_NAMES = r"^(?:.*/)?([^-/]+)-[^-/]+-[^-/]+\.\w+$|^(?:.*/)?(\d+)_\d+_\d+_\d+\.\w+$"

SEVERAL = "several files have its name, and none of the other kind its path"


def speaker_of(path: str, folder: str | Path, regex: re.Pattern) -> str | None:
    """The speaker of an audio file below ``folder``: the first group that fits its path in there, or None."""
    match = regex.search(_inside(path, folder))
    return next(filter(None, match.groups()), None) if match else None


def pair_up(audio: dict[str, os.DirEntry], grids: dict[str, os.DirEntry], folders: tuple[Path, Path],
            given: str | None) -> tuple[list, list]:
    """Match TextGrids with recordings by name, those of a name that several have by their paths in their folders.

    Args:
        folders: of the audio, of the TextGrids.
        given: ``--speaker_regex``, if there was one.

    Returns:
        What has no partner or no speaker, as problems; and (TextGrid, audio) in order of the audio's path.
    """
    problems, pairs, regex = [], [], re.compile(given or LIBRI_NAMES)
    several = _of_several(audio, grids)
    matched = _same_paths(audio, grids, folders, several)
    matched += [(grid, audio[name]) for name, grid in grids.items() if name in audio and os.sep not in name
                and name not in several]
    taken = {entry.path for pair in matched for entry in pair}
    for files, second, alone in ((grids, "second TextGrid of one utterance", "TextGrid without audio"),
                                 (audio, "second audio file of one utterance", "audio without TextGrid")):
        for name, entry in files.items():
            if entry.path not in taken and _stem(entry) in several:
                problems.append((alone, entry.path, SEVERAL))
            elif entry.path not in taken:
                problems.append((second if os.sep in name else alone, entry.path, ""))
    for grid, recording in matched:
        if speaker_of(recording.path, folders[0], regex) is None:
            problems.append(("name is not speaker-chapter-number" if given is None else
                             f"name that --speaker_regex {given!r} does not fit", recording.path, ""))
            continue
        pairs.append((grid.path, recording.path))
    return problems, sorted(pairs, key=lambda pair: pair[1])


def _of_several(audio: dict[str, os.DirEntry], grids: dict[str, os.DirEntry]) -> set[str]:
    """Names met more than once, as anna/01.wav and ben/01.wav, which do not tell what belongs together.

    A name as LibriSpeech has them is of one utterance: further files are copies.
    """
    return {_stem(entry) for files in (audio, grids) for name, entry in files.items()
            if os.sep in name and not re.search(LIBRI_NAMES, entry.name)}


def _same_paths(audio: dict[str, os.DirEntry], grids: dict[str, os.DirEntry], folders: tuple[Path, Path],
                several: set[str]) -> list[tuple[os.DirEntry, os.DirEntry]]:
    """(TextGrid, audio) of the names that several have, whose paths are the same."""
    recordings, texts = ({os.path.splitext(_inside(entry.path, folder))[0]: entry for entry in files.values()
                          if _stem(entry) in several} for files, folder in zip((audio, grids), folders, strict=True))
    return [(texts[path], recordings[path]) for path in sorted(texts.keys() & recordings.keys())]


def _stem(entry: os.DirEntry) -> str:
    return os.path.splitext(entry.name)[0]


def _inside(path: str, folder: str | Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
