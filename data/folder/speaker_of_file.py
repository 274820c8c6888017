"""Who speaks in a recording: by a table, or by the name of its file."""

import csv
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from data.base.errors import UserError

OFFICIAL_STYLE = r"^(.+?)_nohash_"  # as in Speech Commands: 0a7c2a8d_nohash_0.wav
PREFIX_STYLE = r"^([^_-]+)[_-]"     # anna_03.wav, 1034-121119-0001.flac

Found = tuple[str, str]  # word, path of a file


def by_table(files: Sequence[Found], table: Path, root: Path) -> list[str | None]:
    """The speaker of every file by a CSV file with the columns ``file`` and ``speaker``.

    ``file`` is a path relative to ``root``, or a bare file name, which then stands for it in every word folder.
    An empty speaker means that nobody knows.

    Raises:
        UserError: an unreadable table, a missing column, two speakers for a file, a file without a row.
    """
    known: dict[str, str] = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines, skipinitialspace=True)
            if not {"file", "speaker"} <= set(rows.fieldnames or ()):
                raise UserError(f"{table}: its first line must name the columns file,speaker (with a comma), not "
                                f"{','.join(rows.fieldnames or ['nothing'])!r}")
            for row in rows:
                name, speaker = os.path.normpath(row["file"] or ""), (row["speaker"] or "").strip()
                if known.setdefault(name, speaker) != speaker:
                    raise UserError(f"{table}, line {rows.line_num}: {row['file']!r} is by {speaker!r} here and by "
                                    f"{known[name]!r} further up")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: cannot be read as a UTF-8 CSV file ({error})") from None
    found, lacking = [], []
    for _, path in files:
        name = os.path.relpath(path, root)
        speaker = known.get(name, known.get(os.path.basename(path)))
        found.append(speaker or None)
        if speaker is None:
            lacking.append(name)
    if lacking:
        raise UserError(f"{table}: has no row for {lacking[0]!r}" + (f" and {len(lacking) - 1:,} more files" * (
            len(lacking) > 1)) + "; add it, with an empty speaker if nobody knows")
    return found


def by_regex(files: Sequence[Found], pattern: str, root: Path) -> list[str | None]:
    """The first group of ``pattern``, searched in each file's path within its word folder; None where it is not.

    Raises:
        UserError: ``pattern`` is no regular expression, has no group, or fits no file.
    """
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--speaker_regex {pattern!r} is not a regular expression ({error})") from None
    if not regex.groups:
        raise UserError(f"--speaker_regex {pattern!r} has no group: put the speaker's part in parentheses")
    names = [Path(os.path.relpath(path, root / word)).as_posix() for word, path in files]
    found = [(match[1] or None) if (match := regex.search(name)) else None for name in names]
    if not any(found):
        raise UserError(f"--speaker_regex {pattern!r} fits no file name, for instance not {names[0]!r}")
    return found


def by_likely_style(files: Sequence[Found]) -> tuple[list[str | None], str]:
    """Speakers where the file names look as if they told them, and how; else all None.

    Nine names of ten must fit. ``<speaker>_nohash_<n>`` is taken at its word. What stands before the first ``_`` or
    ``-`` may as well be the word (``yes_01.wav``) or the device (``rec_01.wav``): it counts as the speaker when there
    are three at least, most of them in several words and none named like a word, with two clips each on average.
    """
    for pattern in (OFFICIAL_STYLE, PREFIX_STYLE):
        regex = re.compile(pattern)
        found = [match[1] if (match := regex.search(os.path.basename(path))) else None for _, path in files]
        words: defaultdict[str, set[str]] = defaultdict(set)
        for (word, _), speaker in zip(files, found, strict=True):
            if speaker:
                words[speaker].add(word)
        if sum(map(bool, found)) < 0.9 * len(files):
            continue
        in_several = sum(len(said) > 1 for said in words.values())
        several = len({word for word, _ in files}) > 1
        if pattern == OFFICIAL_STYLE or (
                3 <= len(words) <= len(files) / 2 and (in_several >= len(words) / 2 or not several)
                and not {speaker.casefold() for speaker in words} & {word.casefold() for word, _ in files}):
            return found, f"from file names by {pattern}"
    return [None] * len(files), ""
