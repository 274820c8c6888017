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
_TOKEN = re.compile(r'"(?P<text>(?:[^"]|"")*)"(?!")|(?<!\S)(?P<number>[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?!\S)'
                    r"|(?P<flag><exists>)|(?<!\S)!.*")
# Tokens by their initials. A file begins with two texts, two times, a flag and a count; a tier with its class, name,
# two times and count, before its intervals of two times and a text, or its points of one.
_HEAD = "ttnnfn"
_TIER = re.compile("ttnnn((?:nnt)*|(?:nt)*)(?=ttnnn|$)")
# Tiers that hold words when none is called so exactly: Words, word, "84 - words" (Montreal's, by speaker), anna/words.
_LIKE_WORDS = re.compile(r"(?:.*[\s\-_./:])?words?", re.IGNORECASE)

Interval = tuple[str, float, float]  # mark, start and end in seconds


class TextGridError(ValueError):
    """A TextGrid that cannot be used. ``kind`` is one of a few words to count by; the message says more."""

    def __init__(self, kind: str, detail: str = ""):
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind


@dataclass
class WordTier:
    """A tier of intervals, such as ``words``.

    Attributes:
        intervals: silences among them, in order of time and none of them of length zero.
        xmax: where the whole TextGrid ends, seconds.
        odd: what is unusual about the file; empty if nothing is.
    """

    name: str
    intervals: list[Interval]
    xmax: float
    odd: str = ""

    def words(self) -> Iterator[Interval]:
        """The intervals that are not silence, words as in the file."""
        return ((mark.strip(), *times) for mark, *times in self.intervals if mark.strip().lower() not in SILENCE)


def read_word_tier(path: str | Path, tier: str | None = None) -> WordTier:
    """Read the first tier called ``words``, or else the one whose name is like that: Words, word, "anna - words".

    Intervals that overlap by some ms, as rounded times do, or end as little past the end, are cut. As many intervals
    count as are there, whatever number the file states, unless it may have been cut short. With ``tier``, reads the
    first tier of this name instead. Raises TextGridError, of one of the kinds below.
    """
    try:
        with open_regular(path) as file:
            data = file.read()
    except OSError as error:
        raise TextGridError("unreadable", str(error.strerror)) from None
    if not data.strip():
        raise TextGridError("empty")
    found = _choose(_tiers(_decode(data)), tier)
    odd, now, cut, kept = [found.odd] if found.odd else [], float("-inf"), False, []
    if found.name != (tier or TIER):
        odd.append(f"its words are in tier {found.name!r}")
    for mark, a, b in found.intervals:
        if b < a - _EPSILON or a < now - _OVERLAP:
            raise TextGridError("out of order", f"an interval {a:g}-{b:g} s after {now:g} s")
        if b > found.xmax + _PAST:
            raise TextGridError("past the end", f"an interval {a:g}-{b:g} s in a TextGrid of {found.xmax:g} s")
        cut |= a < now - _EPSILON or b > found.xmax + _EPSILON
        a, b = max(a, now), min(b, found.xmax)
        if b > a:
            kept.append((mark, a, b))
            now = b
    if cut:
        odd.append("intervals that overlap or end too late by some ms were cut")
    return WordTier(found.name, kept, found.xmax, "; ".join(odd))


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


def _tiers(text: str) -> list[WordTier]:
    """The tiers of intervals in a Praat text file."""
    tokens = [match for match in _TOKEN.finditer(text) if match.lastgroup]  # others are comments
    kinds = "".join(match.lastgroup[0] for match in tokens)
    values = [match[match.lastgroup] for match in tokens]
    if not kinds.startswith(_HEAD) or values[1] != "TextGrid" or text.count('"') % 2:
        raise TextGridError("broken", "truncated or no TextGrid")
    tiers, place, count = [], len(_HEAD), 0
    while match := _TIER.match(kinds, place):
        count += 1
        name, end, stated = values[place + 1].replace('""', '"'), float(values[place + 3]), float(values[place + 4])
        width = 3 if values[place] == "IntervalTier" else 2
        rows = [values[i:i + width] for i in range(place + 5, match.end(), width)]
        if width == 3 and match[1] == "nnt" * len(rows):
            intervals = [(mark.replace('""', '"'), float(a), float(b)) for a, b, mark in rows]
            if len(rows) < stated and match.end() == len(kinds) and not (rows and intervals[-1][2] >= end - _EPSILON):
                raise TextGridError("broken", f"truncated: {len(rows)} of {stated:g} intervals in tier {name!r}")
            tiers.append(WordTier(name, intervals, max(end, float(values[3])), "" if len(rows) == stated else
                                  f"tier {name!r} states {stated:g} intervals and has {len(rows)}"))
        elif width == 3 or match[1] != "nt" * len(rows):
            break
        place = match.end()
    if place < len(kinds) or count < float(values[5]):
        raise TextGridError("broken", f"truncated or malformed after {count} tiers")
    return tiers


def _choose(tiers: list[WordTier], wanted: str | None) -> WordTier:
    """The tier of words."""
    called = [tier for tier in tiers if tier.name == (wanted or TIER)][:1]
    if not called and wanted is None:
        like = [tier for tier in tiers if _LIKE_WORDS.fullmatch(tier.name.strip())]
        called = [tier for tier in like if any(tier.words())] or like[:1]
    if not called:
        raise TextGridError("no words tier" if wanted is None else f"no tier {wanted!r}",
                            f"tiers: {', '.join(repr(tier.name) for tier in tiers) or 'none'}")
    if len(called) > 1:
        raise TextGridError("several words tiers", f"{', '.join(repr(tier.name) for tier in called)}; one speaker each "
                                                   "needs a file of his own")
    return called[0]
