"""Files below a folder, at any depth; and what lies there that cannot be entered or used."""

import errno
import os
import stat
from pathlib import Path

from data.base.errors import UserError
from data.base.files import kind_of

UNPACKING = ".unpacking-"  # begins the name of a folder that an archive is being unpacked to
AUDIO = (".flac", ".wav", ".ogg", ".mp3", ".opus")

Problem = tuple[str, str, str]  # a kind to count by, the path, and the detail

_LINKS = {errno.ENOENT: "link to nothing", errno.ELOOP: "links in a circle"}


def find_files(folder: str | Path, endings: tuple[str, ...]) -> tuple[dict[str, os.DirEntry], list[Problem]]:
    """Regular files below ``folder`` with one of the endings, and what was passed over there.

    Returns:
        The files by name without ending, hidden ones left out; a further one of the same name is under its whole path.
        And the problems: folders that cannot be entered or that a killed download left, links that lead nowhere or
        round in a circle, pipes, sockets and devices with such an ending, and names that are not UTF-8, which no
        manifest can hold.

    Raises:
        UserError: ``folder`` itself cannot be read.
    """
    found: dict[str, os.DirEntry] = {}
    problems: list[Problem] = []
    folders, seen = [str(folder)], {os.path.realpath(folder)}
    while folders:
        inside = folders.pop()
        try:
            with os.scandir(inside) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if inside == str(folder):
                raise UserError(f"{folder}: cannot be read ({error.strerror}); mend its permissions, or name another "
                                "folder") from None
            problems.append(("folder that cannot be entered", shown(inside), error.strerror or ""))
            continue
        for entry in listed:
            stem, ending = os.path.splitext(entry.name)
            wanted = ending.lower() in endings and not stem.startswith(".")
            try:
                mode = entry.stat().st_mode
            except OSError as error:
                if entry.is_symlink() or wanted:  # a link may have led to a folder
                    kind = _LINKS.get(error.errno, "cannot be reached") if entry.is_symlink() else "cannot be reached"
                    problems.append((kind, shown(entry.path), error.strerror or ""))
                continue
            if stat.S_ISDIR(mode):
                if entry.name.startswith(UNPACKING):  # as much as there was when it was killed
                    problems.append(("unfinished download", shown(entry.path), "remove it, or run --download again"))
                elif (real := os.path.realpath(entry.path)) not in seen:  # else a circle of links would never end
                    seen.add(real)
                    folders.append(entry.path)
            elif wanted and not stat.S_ISREG(mode):
                problems.append(("not a file", shown(entry.path), _kind(entry.path)))
            elif wanted and not is_utf8(entry.path):
                problems.append(("name that is not UTF-8", shown(entry.path), "rename it"))
            elif wanted:
                found[stem if stem not in found else entry.path] = entry
    return found, problems


def is_utf8(name: str) -> bool:
    """Whether a name from the file system is valid UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(name: str) -> str:
    r"""A name from the file system as text that can be written: M\udcfcller for one in Latin-1."""
    return name.encode(errors="backslashreplace").decode()


def _kind(path: str) -> str:
    try:
        return f"it is {kind_of(path)}"
    except OSError:  # gone since
        return ""
