"""Files below a folder, at any depth, and what lies there that cannot be entered or used.

In a folder of one sub-folder per word also the words, and whether its folders are words at all.
"""

import os
import re
import stat
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.base.errors import UserError, first_few
from data.base.files import kind_of, write_atomically
from data.base.labels import has_controls, one_form

UNPACKING = ".unpacking-"  # begins the name of a folder that an archive is being unpacked to
AUDIO = (".flac", ".wav", ".ogg", ".mp3", ".opus")
CLOSED, GONE, NO_FILE = "folders that cannot be entered", "entries that cannot be reached", "entries that are no files"
NOT_UTF8 = "names that are not UTF-8"
NOISE = "_background_noise_"
_SPLIT = re.compile(
    r"(train|training|dev|devel|development|val|valid|validate|validation|test|testing|eval|evaluation)"
    r"([ _-]?(set|split|data|clean|other|\d+))*|(folds?|cv|split|part)[ _-]?\d+", re.IGNORECASE)

Problem = tuple[str, str, str]  # a kind to count by, the path, and the detail
Found = tuple[str, str]  # word, path of a file


def walk(folder: str | Path, endings: Collection[str] | None = None,
         avoid: Iterable[str] = ()) -> tuple[list[os.DirEntry], list[Problem]]:
    """Regular files below ``folder``, hidden ones left out, and what was passed over. Nothing is opened.

    Links are followed, to no folder twice. Raises UserError where ``folder`` itself cannot be read. ``endings`` of the
    files' names are lower case, with the dot, such as ``.trans.txt``; None stands for any. No link may lead to the
    folders whose real paths are in ``avoid``.
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
            elif wanted and shown(entry.path) != entry.path:
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


def shown(name: str) -> str:
    r"""A name from the file system as text that can be written, another one if it is no UTF-8: M\udcfcller."""
    return name.encode(errors="backslashreplace").decode()


@dataclass
class Findings:
    """What is in a folder of word folders."""

    files: list[Found] = field(default_factory=list)
    folders: dict[str, list[str]] = field(default_factory=dict)  # of each word: several where they look the same
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # paths by kind
    noise: Path | None = None

    def remarks(self) -> Iterator[str]:
        """Lines on what is left out, and on folders that are one word."""
        for kind, paths in sorted(self.left_out.items()):
            yield f"left out {len(paths):,} {kind}: {first_few(paths)}"
        for word, names in self.folders.items():
            if len(names) > 1:
                yield f"joined folders whose names look the same: {word} ({', '.join(map(ascii, names))})"


def find_words(root: Path) -> Findings:
    """Find every file below the sub-folders of ``root``, each of which is named after a word, see `walk`.

    Raises UserError where ``root`` or a folder in it cannot be read, has no sub-folders with files, or a name that is
    no label.
    """
    found = Findings()
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise UserError(f"{root}: cannot be read ({error.strerror}); give a folder of one folder a word") from None
    for entry in (entry for entry in entries if not entry.name.startswith(".")):
        if entry.name == NOISE:
            found.noise = entry
        elif not entry.is_dir():
            found.left_out["files in no word folder"].append(shown(str(entry)))
        else:
            word = label_of(entry.name, root)
            files, problems = walk(entry, avoid=[os.path.realpath(root)])
            for kind, path, detail in problems:
                if kind == CLOSED:  # a whole word, or a whole speaker
                    raise UserError(f"{path}: cannot be read ({detail}); mend its permissions")
                found.left_out[kind].append(path)
            if files:
                found.folders.setdefault(word, []).append(entry.name)
                found.files += [(word, path) for path in sorted((file.path for file in files), key=os.path.split)]
            else:
                found.left_out["word folders without a file"].append(str(entry))
    if not found.files:
        raise UserError(f"{root}: has no sub-folders with files in them; put the recordings of each word into a "
                        "folder named after the word")
    return found


def label_of(folder: str, root: Path) -> str:
    """The label that a folder in ``root`` is named after. Raises UserError for a name that can be none."""
    label = one_form(folder)
    if shown(folder) != folder:
        raise UserError(f"{root}: word folder {folder!a}: the name is not valid UTF-8; rename it")
    if not label or has_controls(folder):
        raise UserError(f"{root}: word folder {folder!r}: its name is blank or has control characters; rename it")
    return label


def doubt_words(files: Sequence[Found], root: Path) -> str | None:
    """A warning if the folders may be something else than words; None if nothing speaks for it.

    Raises UserError where folders are named like splits or folds, and either all of them are, or they hold folders that
    are named like the others.
    """
    inside: dict[str, Counter[str]] = {}  # word -> folders in it -> files; "" for files directly in it
    for word, path in files:
        first, *rest = os.path.relpath(path, root).split(os.sep)[1:]
        inside.setdefault(word, Counter())[first if rest else ""] += 1
    deep = {word: set(count) - {""} for word, count in inside.items() if count[""] < count.total() / 2}
    splits = [word for word in inside if _SPLIT.fullmatch(word)]
    words = {name for word in splits for name in deep.get(word, ()) if name in inside}
    if splits and (words or len(splits) == len(inside)):
        words = words or {name for names in deep.values() for name in names}
        raise UserError(f"{root}: named like splits of the data rather than like words: {_some(splits)}"
                        + f" (are these the words: {_some(words)}?)" * bool(words) + "; put the files into one folder "
                        "a word, or keep this division by manifests of your own")
    times = Counter(name for names in deep.values() for name in names)
    repeated = [name for name, n in times.items() if n > 1 and n > len(deep) / 2]
    if len(repeated) > 1 and sum(inside[word][name] for word in deep for name in repeated) > len(files) / 2:
        return (f"most files lie one folder deeper, and these folders repeat one another's names ({_some(repeated)}): "
                f"if those are the words, put the files into one folder a word, and if they are the speakers, add "
                "--speaker_regex '^([^/]+)/'")
    return f"taken for words, though named like splits of the data: {_some(splits)}" if splits else None


def _some(names: Iterable[str]) -> str:
    return first_few(map(repr, sorted(names)), 4)
