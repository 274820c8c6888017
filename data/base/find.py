"""Files below a folder, at any depth; and what lies there that cannot be entered or used."""

import os
import stat
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from data.base.errors import UserError
from data.base.files import kind_of, write_atomically

UNPACKING = ".unpacking-"  # begins the name of a folder that an archive is being unpacked to
AUDIO = (".flac", ".wav", ".ogg", ".mp3", ".opus")
CLOSED, GONE, NO_FILE = "folders that cannot be entered", "entries that cannot be reached", "entries that are no files"
NOT_UTF8 = "names that are not UTF-8"

Problem = tuple[str, str, str]  # a kind to count by, the path, and the detail


def walk(folder: str | Path, endings: Collection[str] | None = None,
         avoid: Iterable[str] = ()) -> tuple[list[os.DirEntry], list[Problem]]:
    """Regular files below ``folder``, hidden ones left out, and what was passed over. Nothing is opened.

    Links are followed, to no folder twice. Raises UserError where ``folder`` itself cannot be read.

    Args:
        endings: of the files' names, lower case, with the dot, such as ``.trans.txt``; None for any.
        avoid: real paths of folders that no link may lead to.
    """
    found, problems = [], []
    folders, seen = [str(folder)], {os.path.realpath(folder), *avoid}
    while folders:
        inside = folders.pop()
        try:
            with os.scandir(inside) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if inside == str(folder):
                raise UserError(f"{folder}: cannot be read ({error.strerror}); mend its permissions, or name another "
                                "folder") from None
            problems.append((CLOSED, shown(inside), error.strerror or ""))
            continue
        problems += [("unfinished downloads", shown(entry.path), "remove it, or run --download again")
                     for entry in listed if entry.name.startswith(UNPACKING)]  # what there was when it was killed
        for entry in listed:
            if entry.name.startswith("."):
                continue
            wanted = endings is None or entry.name.lower().endswith(tuple(endings))
            try:
                mode = entry.stat().st_mode
            except OSError as error:
                if entry.is_symlink() or wanted:  # a link may have led to a folder
                    problems.append((GONE, shown(entry.path), error.strerror or ""))
                continue
            if stat.S_ISDIR(mode):
                if (real := os.path.realpath(entry.path)) not in seen:  # else a circle of links would never end
                    seen.add(real)
                    folders.append(entry.path)
            elif wanted and not stat.S_ISREG(mode):
                problems.append((NO_FILE, shown(entry.path), f"it is {kind_of(entry.path)}"))
            elif wanted and not is_utf8(entry.path):
                problems.append((NOT_UTF8, shown(entry.path), "rename it"))
            elif wanted:
                found.append(entry)
    return found, problems


def report(problems: Sequence[Problem], path: Path) -> None:
    """Count problems by kind on stderr, each with an example, and list all in a file."""
    with write_atomically(path) as file:
        file.writelines("\t".join(" ".join(cell.split()) for cell in row) + "\n" for row in problems)
    first = {kind: f"{place} {detail}".strip() for kind, place, detail in reversed(problems)}
    for kind, count in sorted(Counter(kind for kind, *_ in problems).items()):
        print(f"{'' if kind.startswith('odd') else 'skipped: '}{kind} ({count:,}), such as {first[kind]}",
              file=sys.stderr)
    if problems:
        print(f"all {len(problems):,} of them are named in {path}", file=sys.stderr)


def is_utf8(name: str) -> bool:
    """Whether a name from the file system is valid UTF-8."""
    return shown(name) == name


def shown(name: str) -> str:
    r"""A name from the file system as text that can be written: M\udcfcller for one in Latin-1."""
    return name.encode(errors="backslashreplace").decode()
