"""The files of a folder of word folders; and by kind what lies there and is left out."""

import os
import stat
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from data.base.errors import UserError
from data.base.files import kind_of
from data.sources.word_folders import label_of

NOISE = "_background_noise_"
Found = tuple[str, str]  # word, path of a file


@dataclass
class Findings:
    """What is in a folder of word folders.

    Attributes:
        files: of the word folders, and of the folders in these.
        folders: names of the folders of each word: several where they look the same.
        left_out: paths by kind.
        noise: the noise folder, if there is one.
    """

    files: list[Found] = field(default_factory=list)
    folders: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    noise: Path | None = None


def find_words(root: Path) -> Findings:
    """Find every file below the sub-folders of ``root``, each of which is named after a word.

    Links are followed, but to no folder twice within a word. Nothing is opened.

    Raises:
        UserError: ``root`` or a folder in it cannot be read, has no sub-folders with files, or a name that is no label.
    """
    found = Findings()
    seen = {os.path.realpath(root)}
    folders = []
    for entry, mode in _entries(str(root), found):
        if not stat.S_ISDIR(mode):
            found.left_out["files in no word folder"].append(entry.path)
        elif entry.name == NOISE:
            found.noise = Path(entry.path)
        else:
            folders.append(entry)
    for folder in folders:
        word = label_of(folder.name, root)
        files = _files_below(folder.path, seen, found)
        if not files:
            found.left_out["word folders without a file"].append(folder.path)
            continue
        found.folders.setdefault(word, []).append(folder.name)
        found.files += [(word, path) for path in files]
    if not found.files:
        raise UserError(f"{root}: has no sub-folders with files in them; put the recordings of each word into a "
                        "folder named after the word")
    return found


def _files_below(folder: str, seen: set[str], found: Findings) -> list[str]:
    """Regular files, sorted by folder and name; ``seen`` are folders, by real path, that links must not lead to."""
    files, folders, seen = [], [folder], {*seen, os.path.realpath(folder)}
    while folders:
        for entry, mode in _entries(folders.pop(), found):
            if stat.S_ISREG(mode):
                files.append(entry.path)
            elif stat.S_ISDIR(mode) and (real := os.path.realpath(entry.path)) not in seen:
                seen.add(real)
                folders.append(entry.path)
            elif stat.S_ISDIR(mode):
                found.left_out["links to a folder that is read already"].append(entry.path)
            else:
                found.left_out[f"entries that are no files ({kind_of(entry.path)})"].append(entry.path)
    return sorted(files, key=os.path.split)


def _entries(folder: str, found: Findings) -> list[tuple[os.DirEntry, int]]:
    """What is in a folder, sorted, with the mode of what links lead to."""
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); give a folder of one sub-folder per word, and "
                        "mend the permissions of what is in it") from None
    usable = []
    for entry in listed:
        if entry.name.startswith("."):
            found.left_out["hidden files and folders"].append(entry.path)
            continue
        try:
            entry.name.encode()
            usable.append((entry, entry.stat().st_mode))
        except UnicodeEncodeError:
            if entry.is_dir():  # a whole word, or a whole speaker
                raise UserError(f"{entry.path!a}: the name of this folder is not valid UTF-8; rename it") from None
            found.left_out["files whose name is not valid UTF-8 (rename them)"].append(f"{entry.path!a}")
        except OSError as error:
            kind = "links that lead nowhere" if entry.is_symlink() else "entries that cannot be read"
            found.left_out[kind].append(f"{entry.path} ({error.strerror})")
    return usable
