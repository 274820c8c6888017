"""A test as one self-contained page: what it is made of, assembled within a budget, written whole.

Nothing in it is fetched: style, script, pictures and sound lie in the file, and its content security policy forbids
everything else, also scripts and styles other than its own two, which it knows by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.audio.files import sound_file
from data.base.errors import UserError, first_few
from data.base.files import check_output, open_regular, write_atomically
from data.base.labels import visible
from models.report.tables import short_names
from models.runs.checkpoints import encoder_digest

if TYPE_CHECKING:  # torch takes seconds to import
    from data.audio.dataset import Clips

NAMED = 40  # of a list
_HERE = Path(__file__).parent
_BEGINS = "<!doctype html>"
_SLACK = 1000  # bytes for the sentences on the mistakes that are there


@dataclass(frozen=True)
class Clip:
    """Something to listen to."""

    lines: tuple[str, ...]  # where it lies, for people
    sound: Callable[[], np.ndarray] | str  # gives it, (T,) int16 at 16 kHz; or a text, why there is none to hear
    key: Hashable  # of several clips with one key the page has one sound
    label: str | None = None  # what it is enrolled or trained as, shown beside it


@dataclass(frozen=True)
class Mistake:
    """A clip that was taken for something else, and the clip that it was compared with."""

    row: int  # of the matrix
    column: int
    values: tuple[tuple[float, str], ...]  # of the further columns: to sort by, to show
    clip: Clip
    nearest: Clip


@dataclass(frozen=True)
class Matrix:
    """Counts of what clips are against what they were taken for."""

    title: str
    caption: str
    counts: dict[tuple[int, int], int]  # by (row, column); what is not there is 0
    right: dict[int, int]  # the column of each row that is no mistake
    shown: tuple[Sequence[int], Sequence[int]]  # the rows and the columns to draw, in order


@dataclass
class Page:
    """A test's page."""

    title: str
    about: str
    tiles: list[tuple[str, str]]  # the most important figures, name and value
    headings: dict[str, str | list[str]]  # of the mistakes' table: clip, row, column, nearest, and those of the values
    rows: dict[int, str]  # names of the matrix' rows, by number
    columns: dict[int, str]
    matrix: Matrix
    mistakes: list[Mistake]  # of each cell the surest first
    origin: list[tuple[str, str]]  # where the figures are from, name and value
    notes: list[str] = field(default_factory=list)  # what a reader must know before using a figure
    tables: list[tuple[str, Sequence[Sequence[str]]]] = field(default_factory=list)  # title, and cells, headings first
    pictures: list[tuple[str, bytes, str]] = field(default_factory=list)  # title, PNG, description
    explained: str = ""  # what comes before the mistakes
    elsewhere: str = ""  # what has all mistakes, if some are left out here
    unlisted: dict[tuple[int, int], int] = field(default_factory=dict)  # further mistakes by row and column

    def count(self) -> dict[tuple[int, int], int]:
        """How many mistakes there are, listed or not, by row and column."""
        return dict(Counter((m.row, m.column) for m in self.mistakes) + Counter(self.unlisted))


_PICTURES = {
    "det": ("What is missed against what is falsely accepted",
            "Detection-error curves: per cent of the enrolled words' clips rejected against per cent of the unknown "
            "words' clips accepted, a line for each method and number of enrolled clips"),
    "curve": ("What is missed against false alarms an hour",
              "A line for each word: per cent of its recordings missed against false alarms an hour"),
    "map": ("The embeddings: clips that the encoder finds alike lie together (t-SNE; axes and sizes of gaps mean "
            "nothing)", "A map of the clips' embeddings in two dimensions, a colour and a shape for each class"),
    "distances": ("How far apart two clips of the same word lie, and two of different words",
                  "Two histograms of squared distances, of same-word pairs and of different-word pairs"),
}


def named(pictures: dict[str, bytes]) -> list[tuple[str, bytes, str]]:
    """Title, PNG and description of pictures by name: det, curve, map, distances."""
    return [(_PICTURES[name][0], png, _PICTURES[name][1]) for name, png in pictures.items()]


def in_turn(mistakes: Sequence[Mistake]) -> list[Mistake]:
    """The mistakes in the order in which they get room: the first of every kind, the most frequent kind first, then the
    second of every kind, and so on; of a kind in the order given."""
    kinds: dict[tuple[int, int], list[Mistake]] = {}
    for mistake in mistakes:
        kinds.setdefault((mistake.row, mistake.column), []).append(mistake)
    frequent = sorted(kinds.values(), key=len, reverse=True)
    return [mistake for turn in zip_longest(*frequent) for mistake in turn if mistake is not None]


def origin_rows(content: dict, splits: dict[str, Clips]) -> list[tuple[str, str]]:
    """Names and values for `models.report.page.page.Page.origin`, from what a test's JSON holds, and the clips that
    were tested or compared with."""
    from models.runs.provenance import fingerprint

    facts = {name: as_text(value) for name, value in content["facts"].items() if not name.startswith("note ")}
    for what in {"encoder", "head"} & {*facts}:
        path = Path(facts[what])
        facts[what] = f"run {path.parent.parent.name}, {path.stem}: {path} (SHA-256 {encoder_digest(path)})"
    for split, clips in splits.items():
        facts[f"{split}_clips"] = f"{len(clips):,} of {clips.manifest.path} (digest {fingerprint(clips.manifest)})"
    return [("made", datetime.now().astimezone().isoformat(" ", "seconds")), ("command", content["command"]),
            *((name.replace("_", " "), text) for name, text in facts.items()),
            ("versions", as_text(content["versions"]))]


def notes_of(facts: dict) -> list[str]:
    """What a reader of the figures must know, as it was printed by those who found the facts."""
    return [value for name, value in facts.items() if name.startswith("note ")]


def as_text(value: object) -> str:
    """A fact in a line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {as_text(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return first_few(map(str, value), NAMED) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def check_html(args: Namespace) -> None:
    """Raise UserError where the page could not be written later on, or would replace what is none."""
    path = args.html
    if path is None:
        return
    if not path.parent.is_dir():
        raise UserError(f"--html {path}: there is no folder {path.parent}; make it, or name another")
    check_output(path)
    if path.exists():
        with open_regular(path) as file:
            begins = file.read(len(_BEGINS))
        if begins and begins.lower() != _BEGINS.encode():
            raise UserError(f"--html {path}: is there and is no page, which alone is replaced; choose another name")


def write_page(path: Path, page: Page, megabytes: float) -> None:
    """Write a page of at most so many megabytes (1,000,000 bytes), and print what of it was left out."""
    html, kept = render(page, megabytes)
    content = html.encode()
    with write_atomically(path, "wb") as file:
        file.write(content)
    size, count = f"{len(content) / 1e6:.2f} MB", sum(page.count().values())
    here = f"all {count:,} mistakes" if kept == count else f"{kept:,} of {count:,} mistakes"
    print(f"wrote {path}, {size}: " + (f"{here} to listen to" if count else "no mistakes")
          + (f"; the others are beyond --html_mb {megabytes:g}" if kept < len(page.mistakes) else ""))
    if len(content) > 1e6 * megabytes:
        print(f"{path} has {size} though it has no clip: more than --html_mb {megabytes:g}")


def render(page: Page, megabytes: float) -> tuple[str, int]:
    """The page's HTML, and how many mistakes it has."""
    room = int(1e6 * megabytes) - len(_assemble(page, megabytes, [], [], True).encode()) - _SLACK
    for lossless in (True, False):
        kept, sounds = _fitting(page, room, lossless)
        if len(kept) == len(page.mistakes):
            break
    return _assemble(page, megabytes, kept, sounds, lossless), len(kept)


def _fitting(page: Page, room: int, lossless: bool) -> tuple[list[dict], list[str]]:
    """As many mistakes as fit into so many bytes, as the page's data, and the sounds that they name by number."""
    entries, sounds, places = [], [], {}
    for mistake in in_turn(page.mistakes):
        new = {clip.key: sound_uri(clip.sound(), lossless) for clip in (mistake.clip, mistake.nearest)
               if not isinstance(clip.sound, str) and clip.key not in places}
        numbers = places | {key: len(places) + i for i, key in enumerate(new)}
        entry = {"row": mistake.row, "column": mistake.column,
                 "values": [(value, visible(text)) for value, text in mistake.values],
                 "clip": _clip(mistake.clip, numbers), "nearest": _clip(mistake.nearest, numbers)}
        names = visible(page.rows[mistake.row]), visible(page.columns[mistake.column])  # which the page may yet lack
        room -= sum(len(_as_data(part).encode()) + 12 for part in (entry, *new.values(), *names))
        if room < 0:
            break
        entries.append(entry)
        sounds += new.values()
        places = numbers
    return entries, sounds


def _clip(clip: Clip, numbers: dict) -> dict:
    """A clip as the page's data."""
    sound = {"sound": None, "why": visible(clip.sound)} if isinstance(clip.sound, str) else {"sound": numbers[clip.key]}
    return {"lines": list(map(visible, clip.lines)), "label": clip.label and visible(clip.label)} | sound


def _assemble(page: Page, megabytes: float, kept: list[dict], sounds: list[str], lossless: bool) -> str:
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    def shown(value: object) -> object:
        """What a file or a flag gave, so that it is shown and nothing more; the template escapes it, too."""
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    def shade(row: int, count: int) -> int:
        """Of a cell, 0 to 5; the root keeps one in a hundred visible."""
        return ceil(5 * (count / sum(page.matrix.counts.get((row, c), 0) for c in page.columns)) ** 0.5)

    style, script = ((_HERE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    rows, columns = ({i: visible(names[i]) for i in sorted({*axis, *(entry[key] for entry in kept)})}
                     for key, names, axis in zip(("row", "column"), (page.rows, page.columns), page.matrix.shown,
                                                 strict=True))
    counts = page.count()
    data = {"rows": rows, "columns": columns, "names": page.headings, "mistakes": kept, "sounds": sounds,
            "counts": [[*cell, count] for cell, count in counts.items()]}
    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, finalize=shown, trim_blocks=True,
                              keep_trailing_newline=True)
    return environment.get_template("page.html").render(
        page=page, count=sum(counts.values()), kept=len(kept), megabytes=megabytes, lossless=lossless, sounds=sounds,
        short=lambda name: short_names([name])[0], shade=shade, style=Markup(style), script=Markup(script), hash=_hash,
        data_uri=data_uri, data=Markup(_as_data(data))).lstrip()


def _as_data(value: object) -> str:
    """JSON that can stand in a script element: it has no character that could end one."""
    found = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        found = found.replace(character, f"\\u{ord(character):04x}")
    return found


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of a media type as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def sound_uri(samples: np.ndarray, lossless: bool) -> str:
    """(T,) int16 at 16 kHz as a data URI of FLAC or, a sixth as large, of Ogg Opus; players want at least a sample."""
    kind, subtype = ("FLAC", "PCM_16") if lossless else ("OGG", "OPUS")
    samples = samples if len(samples) else np.zeros(1, np.int16)
    return data_uri(sound_file(samples, kind, subtype), f"audio/{kind.lower()}")
