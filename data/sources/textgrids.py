"""The word tier of Praat TextGrids: read fast, written in the layout of the public LibriSpeech alignments.

The usual file (long text format, UTF-8) is taken apart by one regular expression over its ``words`` tier only; every
other one - short format, UTF-16, or anything that looks wrong - goes to the textgrid package, which either reads it
or says that it is broken.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.base.files import write_atomically

TIER = "words"
SILENCE = frozenset(["", "sil", "sp", "spn"])  # marks of aligners for what is no word
_EPSILON = 1e-6  # seconds; rounding in the file

_NUMBER = rb"(-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)"
_HEADER = re.compile(rb'\s*File type = "ooTextFile"\s+Object class = "TextGrid"\s+xmin = ' + _NUMBER + rb"\s+xmax = "
                     + _NUMBER + rb"\s+tiers\? <exists>\s+size = (\d+)\s")
_WORDS = re.compile(rb'class = "IntervalTier"\s+name = "' + TIER.encode() + rb'"\s+xmin = ' + _NUMBER
                    + rb"\s+xmax = " + _NUMBER + rb"\s+intervals: size = (\d+)\s")
_INTERVAL = re.compile(rb"xmin = " + _NUMBER + rb"\s+xmax = " + _NUMBER + rb'\s+text = "((?:[^"]|"")*)"')
_LAST = re.compile(rb'(?:intervals|points) \[(\d+)\]:(?:\s+\w+ = ' + _NUMBER + rb')+\s+\w+ = "(?:[^"]|"")*"\s*\Z')
_SIZE = re.compile(rb"(?:intervals|points): size = (\d+)\s")
_BOM = b"\xef\xbb\xbf"


class TextGridError(ValueError):
    """A TextGrid that cannot be used. ``kind`` is one of a few words to count by; the message says more."""

    def __init__(self, kind: str, detail: str = ""):
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind


@dataclass
class WordTier:
    """The intervals of a ``words`` tier, silences among them, in order of time and none of them of length zero.

    Attributes:
        start, end: seconds.
        mark: the text of each interval, as in the file.
        xmax: where the whole TextGrid ends, seconds.
        odd: why the textgrid package had to read it, or None.
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


def read_words(path: str | Path) -> WordTier:
    """Read the first tier called ``words``.

    Raises:
        TextGridError: with ``kind`` "unreadable", "empty", "encoding", "broken" (truncated, or no TextGrid at all),
            "no words tier", "out of order" (intervals that overlap or run backwards) or "past the end".
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise TextGridError("unreadable", str(error.strerror)) from None
    if not data.strip():
        raise TextGridError("empty")
    return _read_usual(data) or _read_odd(path, data)


def write_words(path: str | Path, words: Sequence[tuple[str, float, float]], duration: float) -> None:
    """Write (word, start, end) as a TextGrid with one tier ``words``; what lies between them becomes silence.

    Args:
        words: in order of time, seconds, not overlapping.
        duration: of the utterance, seconds.

    Raises:
        ValueError: words out of order or past the end.
        UserError: the folder cannot be written.
    """
    intervals: list[tuple[float, float, str]] = []
    now = 0.0
    for word, start, end in words:
        if not now - _EPSILON <= start < end <= duration + _EPSILON:
            raise ValueError(f"{path}: {word!r} at {start:g}-{end:g} s follows {now:g} s of {duration:g} s")
        if start > now + _EPSILON:
            intervals.append((now, start, ""))
        intervals.append((max(start, now), min(end, duration), word.replace('"', '""')))
        now = intervals[-1][1]
    if now < duration - _EPSILON:
        intervals.append((now, duration, ""))
    end = _seconds(duration)
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {end} ",
             "tiers? <exists> ", "size = 1 ", "item []: ", "    item [1]:", '        class = "IntervalTier" ',
             f'        name = "{TIER}" ', "        xmin = 0 ", f"        xmax = {end} ",
             f"        intervals: size = {len(intervals)} "]
    for number, (start, stop, mark) in enumerate(intervals, 1):
        lines += [f"        intervals [{number}]:", f"            xmin = {_seconds(start)} ",
                  f"            xmax = {_seconds(stop)} ", f'            text = "{mark}" ']
    with write_atomically(path) as file:
        file.write("\n".join(lines) + "\n")


def _seconds(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _read_usual(data: bytes) -> WordTier | None:
    """The tier of a whole file in long text format, or None where anything is not as usual."""
    header = _HEADER.match(data, len(_BOM) if data.startswith(_BOM) else 0)
    tier = header and _WORDS.search(data, header.end())
    if not tier:
        return None
    stop = data.find(b'class = "', tier.end())
    rows = _INTERVAL.findall(data, tier.end(), stop if stop >= 0 else len(data))
    if (len(rows) != int(tier[3]) or data.count(b'class = "', header.end()) != int(header[3])
            or not _whole(data, stop if stop >= 0 else tier.start())):
        return None
    start, end, mark = [], [], []
    now, xmax = float("-inf"), float(header[2])
    for first, last, text in rows:
        a, b = float(first), float(last)
        if b < a - _EPSILON or a < now - _EPSILON:
            raise TextGridError("out of order", f"an interval {a:g}-{b:g} s after {now:g} s")
        if b > xmax + _EPSILON:
            raise TextGridError("past the end", f"an interval {a:g}-{b:g} s in a TextGrid of {xmax:g} s")
        if b > a:
            start.append(a)
            end.append(b)
            mark.append(text)
            now = b
    try:
        mark = [text.decode("utf-8").replace('""', '"') for text in mark]
    except UnicodeDecodeError:
        raise TextGridError("encoding", "neither UTF-8 nor UTF-16") from None
    return WordTier(start, end, mark, xmax)


def _whole(data: bytes, start: int) -> bool:
    """Whether the last tier has as many items as it says, which a file cut short has not."""
    size = None
    for size in _SIZE.finditer(data, start):  # noqa: B007  the last one counts
        pass
    if size is None:
        return False
    if not int(size[1]):
        return not data[size.end():].strip()
    last = _LAST.match(data, max(data.rfind(b"intervals [", size.end()), data.rfind(b"points [", size.end()), 0))
    return last is not None and last[1] == size[1]


def _read_odd(path: str | Path, data: bytes) -> WordTier:
    import textgrid  # 20 ms that a usual corpus never needs

    grid = textgrid.TextGrid()
    try:
        grid.read(str(path), round_digits=9)
    except UnicodeError:
        raise TextGridError("encoding", "neither UTF-8 nor UTF-16") from None
    except ValueError as error:
        culprit = error.args[0] if error.args else None  # all that addInterval and append say
        if isinstance(culprit, textgrid.Interval):
            raise TextGridError("out of order", "intervals overlap") from None
        if isinstance(culprit, float):
            raise TextGridError("past the end", f"an interval outside its tier or TextGrid, at {culprit:g} s") from None
        raise TextGridError("broken", f"truncated or malformed ({error})") from None
    except Exception as error:  # the package meets a cut-off file with whatever comes first
        raise TextGridError("broken", f"truncated or no TextGrid ({error or type(error).__name__})") from None
    tier = grid.getFirst(TIER)
    if not isinstance(tier, textgrid.IntervalTier):
        raise TextGridError("no words tier", f"tiers: {', '.join(map(repr, grid.getNames())) or 'none'}")
    odd = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "short or unusual format"
    return WordTier([i.minTime for i in tier], [i.maxTime for i in tier], [i.mark for i in tier], grid.maxTime, odd)
