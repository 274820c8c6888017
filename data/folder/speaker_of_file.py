"""Who speaks in a recording: by a table, or by the name of its file."""

import csv
import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from data.base.errors import UserError
from data.base.files import read_text
from data.base.labels import folded, one_form
from data.folder.find_words import Found
from data.sources.speaker_regex import speaker_regex

OFFICIAL_STYLE = r"^(.+?)_nohash_"  # as in Speech Commands: 0a7c2a8d_nohash_0.wav
PREFIX_STYLE = r"^([^_-]+)[_-]"     # anna_03.wav, 1034-121119-0001.flac
# What a name may begin with that is no speaker: a date, with the year first or last; a kind of recording, numbered.
_YEAR, _MONTH, _DAY = r"(19|20)\d\d", r"(0?[1-9]|1[0-2])", r"(0?[1-9]|[12]\d|3[01])"
_DATE = re.compile(rf"{_YEAR}([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)|"
                   rf"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])T?\d{{4,6}}(?!\d)|"
                   rf"({_DAY}[-_.]{_MONTH}|{_MONTH}[-_.]{_DAY})[-_.]{_YEAR}(?!\d)|\d\d([-.])\d\d[-.]\d\d(?!\d)|"
                   rf"\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?!\d)")
_TAKE = re.compile(r"(takes?|rec|recs|recordings?|record|clips?|samples?|audio|files?|sounds?|tracks?|utt|utterances?|"
                   r"sessions?|memos?|voice ?memos?|images?|img|vid|wav|copy|untitled|new|segments?|seg|chunks?|parts?|"
                   r"noise|aug|version|t|v|no|nr)[ .]?\d*", re.IGNORECASE)


def by_table(files: Sequence[Found], table: Path, root: Path) -> list[str | None]:
    """The speaker of every file by a CSV file with the columns ``file`` and ``speaker``; others are not looked at.

    ``file`` is a path relative to ``root`` or to the folder above, or an absolute one, or a bare file name, which then
    stands for it in every word folder; with either kind of slash. An empty speaker means that nobody knows.

    Raises:
        UserError: an unreadable table, a missing column, two speakers for a file, a file without a row.
    """
    known: dict[str, str] = {}
    text = read_text(table, "table of speakers", "give a CSV file with --speakers")
    rows = csv.reader(io.StringIO(text), skipinitialspace=True)
    try:
        columns = [name.strip().lower() for name in next(rows, [])]
        if not {"file", "speaker"} <= set(columns):
            named = ",".join(columns) or "nothing"
            raise UserError(f"{table}: its first line must name the columns file,speaker (with a comma), not {named!r}")
        file, who = columns.index("file"), columns.index("speaker")
        for row in filter(None, rows):
            if len(row) <= max(file, who):
                raise UserError(f"{table}, line {rows.line_num}: has {len(row)} of the {len(columns)} columns; give "
                                "an empty speaker if nobody knows")
            name, speaker = _key(row[file], root), row[who].strip()
            if known.setdefault(name, speaker) != speaker:
                raise UserError(f"{table}, line {rows.line_num}: {row[file]!r} is by {speaker!r} here and by "
                                f"{known[name]!r} further up")
    except csv.Error as error:
        raise UserError(f"{table}: cannot be read as a CSV file ({error}); save it anew as CSV") from None
    found, lacking = [], []
    for _, path in files:
        name = _key(path, root)
        speaker = known.get(name, known.get(os.path.basename(name)))
        found.append(speaker or None)
        if speaker is None:
            lacking.append(name)
    if lacking:
        raise UserError(f"{table}: has no row for {lacking[0]!r}" + (f" and {len(lacking) - 1:,} more files" * (
            len(lacking) > 1)) + "; add it, with an empty speaker if nobody knows")
    return found


def _key(path: str, root: Path) -> str:
    """A path in the one form in which rows and files are compared: relative to ``root``, composed, forward slashes."""
    path = path.strip()
    if "\\" in path and not os.path.exists(os.path.join(root, path)):  # from Windows, unless so named
        path = path.replace("\\", "/")
    path = os.path.relpath(path, root) if os.path.isabs(path) else os.path.normpath(path)
    inside = path.removeprefix(root.name + os.sep)  # as seen from the folder above
    if inside != path and not os.path.exists(os.path.join(root, path)):
        path = inside
    return one_form(path.replace(os.sep, "/"))


def by_regex(files: Sequence[Found], pattern: str, root: Path) -> list[str | None]:
    """The first group of ``pattern``, searched in each file's path within its word folder; None where it is not.

    Raises:
        UserError: ``pattern`` is no regular expression, has no group, or fits no file.
    """
    regex = speaker_regex(pattern)
    names = ["/".join(os.path.relpath(path, root).split(os.sep)[1:]) for _, path in files]
    found = [(match[1] or None) if (match := regex.search(name)) else None for name in names]
    if not any(found):
        raise UserError(f"--speaker_regex {pattern!r} fits no file name, for instance not {names[0]!r}")
    return found


def by_likely_style(files: Sequence[Found]) -> tuple[list[str | None], str]:
    """Speakers where the file names look as if they told them, and how; else all None, and why not, if there is a why.

    Nine names of ten must fit. ``<speaker>_nohash_<n>`` is taken at its word. What stands before the first ``_`` or
    ``-`` may as well be the word (``yes_01.wav``), the device (``rec_01.wav``), a date or the number of the take
    (``01_yes.wav``): it counts as the speaker when there are three at least, most of them in several words and none
    named like a word, with two clips each on average, and `_no_speakers` has nothing against it.
    """
    for pattern in (OFFICIAL_STYLE, PREFIX_STYLE):
        regex = re.compile(pattern)
        names = [os.path.basename(path) for _, path in files]
        found = [match[1] if (match := regex.search(name)) else None for name in names]
        words: defaultdict[str, set[str]] = defaultdict(set)
        for (word, _), speaker in zip(files, found, strict=True):
            if speaker:
                words[speaker].add(word)
        if sum(map(bool, found)) < 0.9 * len(files):
            continue
        in_several = sum(len(said) > 1 for said in words.values())
        several = len({word for word, _ in files}) > 1
        if pattern == OFFICIAL_STYLE:
            return found, f"from file names by {pattern}"
        if (3 <= len(words) <= len(files) / 2 and (in_several >= len(words) / 2 or not several)
                and not set(map(folded, words)) & {folded(word) for word, _ in files}):
            if what := _no_speakers(files, found):
                return [None] * len(files), (f"what stands before the first _ or -, such as {min(words)!r}, looks like "
                                             f"{what}; if it is the speaker, say --speaker_regex '{pattern}'")
            return found, f"from file names by {pattern}"
    return [None] * len(files), ""


def _no_speakers(files: Sequence[Found], prefixes: Sequence[str | None]) -> str | None:
    """What the beginnings of the file names look like rather than like speakers; None if nothing speaks against them.

    Numbers that count from 0 or 1 are takes if hardly any word has two files of one number.
    """
    names = [os.path.basename(path) for _, path in files]
    if sum(_DATE.match(name) is not None for name in names) >= 0.9 * len(names):
        return "a date"
    kinds = set(filter(None, prefixes))
    if sum(_TAKE.fullmatch(kind) is not None for kind in kinds) >= 0.9 * len(kinds):
        return "a kind of recording"
    numbers = sorted({int(kind) for kind in kinds if kind.isdecimal()})
    pairs = Counter((word, prefix) for (word, _), prefix in zip(files, prefixes, strict=True) if prefix)
    if (len(numbers) >= 0.9 * len(kinds) and numbers[0] <= 1 and numbers[-1] <= 2 * len(numbers)
            and sum(n > 1 for n in pairs.values()) < 0.1 * len(pairs)):
        return "the number of a take"
    return None
