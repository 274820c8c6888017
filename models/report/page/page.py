"""A test as one self-contained page: assembled within a budget, written whole.

Nothing in it is fetched: style, script, pictures and sound lie in the file, and its content security policy forbids
everything else, also scripts and styles other than its own two, which it knows by their hashes.
"""

import base64
import hashlib
import json
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np

from data.audio.files import sound_file
from data.base.errors import UserError
from data.base.files import check_output, open_regular, write_atomically
from data.base.labels import visible
from models.report.drawing import short_names
from models.report.page.parts import Clip, Page, in_turn

_HERE = Path(__file__).parent
_BEGINS = "<!doctype html>"
_SHADES = 5  # of a cell
_SLACK = 1000  # bytes for the sentence on mistakes left out


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
    """As many mistakes as fit into so many bytes, as the page's data, and the sounds that they name."""
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
    """A clip as the page's data, its sound by number."""
    entry = {"lines": [visible(line) for line in clip.lines]}
    if clip.label is not None:
        entry["label"] = visible(clip.label)
    if isinstance(clip.sound, str):
        return entry | {"sound": None, "why": visible(clip.sound)}
    return entry | {"sound": numbers[clip.key]}


def _assemble(page: Page, megabytes: float, kept: list[dict], sounds: list[str], lossless: bool) -> str:
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    def shown(value: object) -> object:
        """What a file or a flag gave, so that it is shown and nothing more; the template escapes it, too."""
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    style, script = ((_HERE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    rows, columns = (set(axis) | {entry[name] for entry in kept} for name, axis in
                     zip(("row", "column"), page.matrix.shown, strict=True))
    data = {"rows": {r: visible(page.rows[r]) for r in sorted(rows)},
            "columns": {c: visible(page.columns[c]) for c in sorted(columns)}, "names": page.headings,
            "counts": [[*cell, count] for cell, count in page.count().items()],
            "mistakes": kept, "sounds": sounds}
    environment = Environment(loader=FileSystemLoader(_HERE), autoescape=True, finalize=shown, trim_blocks=True,
                              keep_trailing_newline=True)
    return environment.get_template("page.html").render(
        page=page, below=_below(page), across=_named(page.columns, page.matrix.shown[1]),
        remarks=_remarks(page, megabytes, len(kept), lossless),
        sortable=[("row", page.headings["row"]), ("column", page.headings["column"]),
                  *enumerate(page.headings["values"])],
        style=Markup(style), script=Markup(script), hash=_hash, data_uri=data_uri, data=Markup(_as_data(data))).lstrip()


def _below(page: Page) -> list[tuple]:
    """The matrix: (number, name, short name, cells) of every row, a cell being (column, count, shade, title)."""
    total: Counter = Counter()
    for (row, _), count in page.matrix.counts.items():
        total[row] += count

    def cell(row: int, column: int) -> tuple:
        count = page.matrix.counts.get((row, column), 0)
        shade = ceil(_SHADES * (count / (total[row] or 1)) ** 0.5)  # the root keeps one in a hundred visible
        return (column, count, min(_SHADES, shade),
                f"{page.rows[row]}, {page.headings['column']} {page.columns[column]}")

    below, across = page.matrix.shown
    return [(row, *names, [cell(row, column) for column in across])
            for row, names in zip(below, _named(page.rows, below), strict=True)]


def _named(names: dict[int, str], shown: Sequence[int]) -> list[tuple[str, str]]:
    """The names of rows or columns, and short ones."""
    long = [names[i] for i in shown]
    return list(zip(long, short_names(long), strict=True))


def _as_data(value: object) -> str:
    """JSON that can stand in a script element: it has no character that could end one."""
    found = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        found = found.replace(character, f"\\u{ord(character):04x}")
    return found


def _remarks(page: Page, megabytes: float, kept: int, lossless: bool) -> list[str]:
    """What comes before the mistakes: which are there, and what their sound is."""
    count = sum(page.count().values())
    which = f"All {count:,} are here."
    if kept < count:
        which = (f"{kept:,} of {count:,} are here; the other {count - kept:,} were left out, "
                 + (f"for a page of at most {megabytes:g} MB (--html_mb)" if kept < len(page.mistakes) else
                    "of a kind of which there are too many")
                 + ". Of every kind of mistake as many are here as fit in turn, the surest first."
                 + (f" All are in {page.elsewhere}." if page.elsewhere else ""))
    audible = any(not isinstance(clip.sound, str) for m in page.mistakes for clip in (m.clip, m.nearest))
    sound = "FLAC, sample by sample as it was tested" if lossless else "Ogg Opus; what was tested had no such losses"
    return [page.explained, which, f"Sound: {sound}." if kept and audible else ""]


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
