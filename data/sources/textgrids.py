"""The word tier of Praat TextGrids, and writing it in the layout of the public LibriSpeech alignments.

A file is read token by token, as Praat reads: numbers, texts in quotes and flags count where they stand alone, all else
is comment. The package textgrid trusts the counts that a file states, and refuses times that rounding made overlap;
aligners write such files.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.base.files import open_regular, write_atomically

TIER = "words"
SILENCE = frozenset(["", "sil", "sp", "spn"])  # marks of aligners for what is no word
_EPSILON = 1e-6  # seconds; rounding in the file
_OVERLAP = 0.005  # seconds that rounded times may overlap; the later one is cut
_PAST = 0.025  # seconds that a last frame may reach past the end; cut
_TOKEN = re.compile(r'"((?:[^"]|"")*)"(?!")|(?<!\S)([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?!\S)'
                    r"|(<exists>|<absent>)|(?<!\S)!.*")
_TIER_CLASSES = {"IntervalTier": 2, "TextTier": 1}  # numbers before each text
# Tiers that hold words when none is called so exactly: Words, word, "84 - words" (Montreal's, by speaker), anna/words.
_LIKE_WORDS = re.compile(r"(?:.*[\s\-_./:])?words?", re.IGNORECASE)


class TextGridError(ValueError):
    """A TextGrid that cannot be used. ``kind`` is one of a few words to count by; the message says more."""

    def __init__(self, kind: str, detail: str = ""):
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind


@dataclass
class WordTier:
    """The intervals of a ``words`` tier, silences among them, in order of time and none of them of length zero.

    Attributes:
        start, end, mark: of each interval, seconds and the text in the file.
        xmax: where the whole TextGrid ends, seconds.
        odd: what is unusual about the file, or None.
    """

    start: list[float]
    end: list[float]
    mark: list[str]
    xmax: float
    odd: str | None = None

    def __len__(self) -> int:
        return len(self.mark)

    def words(self) -> Iterator[tuple[str, float, float]]:
        """(word, start, end) of the intervals that are not silence, words as in the file."""
        for mark, start, end in zip(self.mark, self.start, self.end, strict=True):
            if mark.strip().lower() not in SILENCE:
                yield mark.strip(), start, end


def read_word_tier(path: str | Path, tier: str | None = None) -> WordTier:
    """Read the first tier called ``words``, or else the one whose name is like that: Words, word, "anna - words".

    Intervals that overlap by some ms, as rounded times do, or end as little past the end, are cut. As many intervals
    count as are there, whatever number the file states, unless it may have been cut short.

    Args:
        tier: read the first tier of this name instead.

    Raises:
        TextGridError: of one of the kinds below.
    """
    try:
        with open_regular(path) as file:
            data = file.read()
    except OSError as error:
        raise TextGridError("unreadable", str(error.strerror)) from None
    if not data.strip():
        raise TextGridError("empty")
    xmax, tiers, odd = _tiers(_tokens(_decode(data)))
    name, rows, end_of_tier = _choose(tiers, tier)
    if name != (tier or TIER):
        odd.append(f"its words are in tier {name!r}")
    xmax, now, cut = max(xmax, end_of_tier), float("-inf"), False
    found = WordTier([], [], [], xmax)
    for a, b, mark in rows:
        if b < a - _EPSILON or a < now - _OVERLAP:
            raise TextGridError("out of order", f"an interval {a:g}-{b:g} s after {now:g} s")
        if b > xmax + _PAST:
            raise TextGridError("past the end", f"an interval {a:g}-{b:g} s in a TextGrid of {xmax:g} s")
        cut |= a < now - _EPSILON or b > xmax + _EPSILON
        a, b = max(a, now), min(b, xmax)
        if b > a:
            found.start.append(a)
            found.end.append(b)
            found.mark.append(mark)
            now = b
    if cut:
        odd.append("intervals that overlap or end too late by some ms were cut")
    found.odd = "; ".join(odd) or None
    return found


def write_words(path: str | Path, words: Sequence[tuple[str, float, float]], duration: float) -> None:
    """Write (word, start, end) as a TextGrid with one tier ``words``, see `as_textgrid`."""
    with write_atomically(path) as file:
        file.write(as_textgrid({TIER: words}, duration))


def as_textgrid(tiers: Mapping[str, Sequence[tuple[str, float, float]]], duration: float) -> str:
    """A TextGrid of ``duration`` seconds, with (mark, start, end) by the names of their tiers, in order of time; what
    lies between them becomes silence. Raises ValueError for intervals that overlap, or end after ``duration``."""
    from textgrid import IntervalTier, TextGrid

    grid, content = TextGrid(maxTime=duration), io.StringIO()
    for name, intervals in tiers.items():
        tier = IntervalTier(name.replace('"', '""'), 0, duration)  # as Praat has it; of marks the library sees to it
        for mark, start, end in intervals:
            tier.add(start, end, mark)
        grid.append(tier)
    content.close = lambda: None  # the library closes what it writes to
    grid.write(content)
    return content.getvalue()


def _decode(data: bytes) -> str:
    if b"ooBinaryFile" in data[:40]:
        raise TextGridError("broken", "a binary TextGrid; save it as text in Praat")
    wide = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"F\0": "utf-16-le", b"\0F": "utf-16-be"}.get(data[:2])
    try:
        return data.decode(wide or "utf-8-sig")
    except UnicodeDecodeError:
        raise TextGridError("encoding", "neither UTF-8 nor UTF-16") from None


def _tokens(text: str) -> list[str | float | bool]:
    """Texts as _Text, numbers and flags of a Praat text file, its header among them."""
    tokens = []
    for content, number, flag in (match.groups() for match in _TOKEN.finditer(text)):
        if content is not None:
            tokens.append(_Text(content.replace('""', '"')))
        elif number or flag:  # else a comment
            tokens.append(float(number) if number else flag == "<exists>")
    kinds = [type(token) for token in tokens[:6]]
    if kinds[:5] != [_Text, _Text, float, float, bool] or tokens[1] != "TextGrid" or (
            tokens[4] and kinds[5:] != [float]):
        raise TextGridError("broken", "truncated or no TextGrid")
    if text.count('"') % 2:
        raise TextGridError("broken", "truncated within a text")
    return tokens


class _Text(str):
    """A text in quotes."""


def _tiers(tokens: list) -> tuple[float, list[tuple[str, str, list[tuple], float]], list[str]]:
    """Where the TextGrid ends; (class, name, (start, end, mark) rows, xmax) of every tier; and what is odd."""
    tiers, odd, place = [], [], 6
    while place < len(tokens):
        kind, name, *bounds = tokens[place:place + 5] + [None] * max(0, place + 5 - len(tokens))
        times = _TIER_CLASSES.get(kind)
        if times is None or not isinstance(name, _Text) or [type(value) for value in bounds] != [float] * 3:
            raise TextGridError("broken", f"truncated or malformed after {len(tiers)} tiers")
        place += 5
        rows = []
        while place < len(tokens) and isinstance(tokens[place], float):
            row = tokens[place:place + times + 1]
            if [type(value) for value in row] != [float] * times + [_Text]:
                raise TextGridError("broken", f"truncated or malformed in tier {str(name)!r}")
            rows.append((row[0], row[-2], str(row[-1])))
            place += times + 1
        if len(rows) < bounds[2] and place == len(tokens) and not (
                rows and times == 2 and rows[-1][1] >= bounds[1] - _EPSILON):
            raise TextGridError("broken", f"truncated: {len(rows)} of {bounds[2]:g} intervals in tier {str(name)!r}")
        if len(rows) != bounds[2]:
            odd.append(f"tier {str(name)!r} states {bounds[2]:g} intervals and has {len(rows)}")
        tiers.append((str(kind), str(name), rows, bounds[1]))
    if tokens[4] and len(tiers) < tokens[5]:
        raise TextGridError("broken", f"truncated: {len(tiers)} of {tokens[5]:g} tiers")
    return tokens[3], tiers, odd


def _choose(tiers: list[tuple[str, str, list[tuple], float]], wanted: str | None) -> tuple[str, list[tuple], float]:
    """The tier of words: name, rows, xmax."""
    intervals = [tier[1:] for tier in tiers if tier[0] == "IntervalTier"]
    called = [tier for tier in intervals if tier[0] == (wanted or TIER)][:1]
    if not called and wanted is None:
        like = [tier for tier in intervals if _LIKE_WORDS.fullmatch(tier[0].strip())]
        called = [tier for tier in like if any(mark.strip().lower() not in SILENCE for *_, mark in tier[1])] or like[:1]
    if not called:
        raise TextGridError("no words tier" if wanted is None else f"no tier {wanted!r}",
                            f"tiers: {', '.join(repr(name) for _, name, *_ in tiers) or 'none'}")
    if len(called) > 1:
        raise TextGridError("several words tiers", f"{', '.join(repr(name) for name, *_ in called)}; one speaker each "
                                                   "needs a file of his own")
    return called[0]
