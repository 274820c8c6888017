"""Files below a folder, at any depth."""

import os
from pathlib import Path

AUDIO = (".flac", ".wav", ".ogg", ".mp3", ".opus")


def find_files(folder: str | Path, endings: tuple[str, ...]) -> dict[str, os.DirEntry]:
    """Files below ``folder`` with one of the endings, by name without ending; hidden ones are left out.

    A further file of the same name is returned under its whole path.
    """
    found: dict[str, os.DirEntry] = {}
    folders, seen = [str(folder)], {os.path.realpath(folder)}
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                stem, ending = os.path.splitext(entry.name)
                if entry.is_dir():
                    if (real := os.path.realpath(entry.path)) not in seen:  # else a circle of links would never end
                        seen.add(real)
                        folders.append(entry.path)
                elif ending.lower() in endings and not stem.startswith("."):
                    found[stem if stem not in found else entry.path] = entry
    return found
