"""What the folders in a folder are named after: words, or splits, folds and speakers."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from data.base.errors import UserError
from data.base.labels import has_controls, one_form
from data.base.messages import first_few

_SPLIT = re.compile(
    r"(train|training|dev|devel|development|val|valid|validate|validation|test|testing|eval|evaluation)"
    r"([ _-]?(set|split|data|clean|other|\d+))*|(folds?|cv|split|part)[ _-]?\d+", re.IGNORECASE)


def label_of(folder: str, root: Path) -> str:
    """The label that a folder in ``root`` is named after. Raises UserError for a name that can be none."""
    label = one_form(folder)
    if re.search("[\ud800-\udfff]", folder):
        raise UserError(f"{root}: word folder {folder!a}: the name is not valid UTF-8; rename it")
    if not label or has_controls(folder):
        raise UserError(f"{root}: word folder {folder!r}: its name is blank or has control characters; rename it")
    return label


def doubt_words(files: Sequence[tuple[str, str]], root: Path) -> str | None:
    """A warning if what stands for the words may be something else; None if nothing speaks for it.

    Args:
        files: label and path of each, in folders of ``root``.

    Raises:
        UserError: the first folders are named like splits or folds, and either all of them are, or they hold folders
            that repeat one another's names or those of the words.
    """
    inside: dict[str, Counter[str]] = {}  # word -> folders in it -> files; "" for files directly in it
    for word, path in files:
        first, *rest = os.path.relpath(path, root).split(os.sep)[1:]
        inside.setdefault(word, Counter())[first if rest else ""] += 1
    deep = {word: set(count) - {""} for word, count in inside.items() if count[""] < count.total() / 2}
    named = [word for word in inside if _SPLIT.fullmatch(word)]
    ordinary = [word for word in inside if word not in named]
    of_ordinary = {name for word in ordinary for name in deep.get(word, ())}  # speakers, for instance
    words = {name for word in named for name in deep.get(word, ()) if name in ordinary or (
        name not in of_ordinary and sum(name in deep.get(other, ()) for other in named) > 1)}
    if named and (words or not ordinary):
        seem = f" (which hold the folders {_some(words)}: are these the words?)" if words else ""
        raise UserError(f"{root}: named like splits of the data rather than like words: {_some(named)}{seem}; put the "
                        "files into one folder a word, or keep this division by manifests of your own")
    times = Counter(name for names in deep.values() for name in names)
    repeated = [name for name, n in times.items() if n > 1 and n > len(deep) / 2]
    covered = sum(inside[word][name] for word in deep for name in repeated)
    if len(repeated) > 1 and covered > len(files) / 2:
        return (f"most files lie one folder deeper, and these folders repeat one another's names ({_some(repeated)}): "
                f"if those are the words, put the files into one folder a word, and if they are the speakers, add "
                "--speaker_regex '^([^/]+)/'")
    if named:
        return f"taken for words, though named like splits of the data: {_some(named)}"
    return None


def _some(names) -> str:
    return first_few(map(repr, sorted(names)), 4)
