"""Who speaks in a recording: by a table, or by the name of its file."""

import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

from data.base.errors import UserError
from data.base.files import read_text
from data.base.labels import one_form
from data.base.messages import first_few
from data.sources.word_folders import Found

OFFICIAL_STYLE = r"^(.+?)_nohash_"  # as in Speech Commands: 0a7c2a8d_nohash_0.wav


def by_table(files: Sequence[Found], table: Path, root: Path) -> list[str | None]:
    """The speaker of every file by a CSV file with the columns ``file`` and ``speaker``; others are not looked at.

    ``file`` is a path relative to ``root``, or an absolute one, or a bare file name, which then stands for it in every
    word folder. An empty speaker means that nobody knows.
    """
    known: dict[str, str] = {}
    text = read_text(table, "table of speakers", "give a CSV file with --speakers")
    rows = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    try:
        if not {"file", "speaker"} <= set(rows.fieldnames or ()):
            raise UserError(f"{table}: its first line must name the columns file,speaker (with a comma)")
        for row in rows:
            if row["speaker"] is None:
                raise UserError(f"{table}, line {rows.line_num}: lacks a column; give an empty speaker if nobody knows")
            name, speaker = _key(row["file"], root), row["speaker"].strip()
            if known.setdefault(name, speaker) != speaker:
                raise UserError(f"{table}, line {rows.line_num}: {row['file']!r} is by {speaker!r} here and by "
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
        raise UserError(f"{table}: has no row for {first_few(lacking, 1)}; add it, with an empty speaker if nobody "
                        "knows")
    return found


def _key(path: str, root: Path) -> str:
    """A path in the one form in which rows and files are compared: relative to ``root``, composed, forward slashes."""
    path = path.strip()
    path = os.path.relpath(path, root) if os.path.isabs(path) else os.path.normpath(path)
    return one_form(path.replace(os.sep, "/"))


def by_regex(files: Sequence[Found], pattern: str, root: Path, must_fit: bool = True) -> list[str | None]:
    """The first group of ``pattern``, searched in each file's path within its word folder; None where it is not."""
    regex = re.compile(pattern)
    names = ["/".join(os.path.relpath(path, root).split(os.sep)[1:]) for _, path in files]
    found = [(match[1] or None) if (match := regex.search(name)) else None for name in names]
    if must_fit and not any(found):
        raise UserError(f"--speaker_regex {pattern!r} fits no file name, for instance not {names[0]!r}")
    return found
