"""A test as one self-contained page: assembled within a budget, written whole.

Nothing in it is fetched: style, script, pictures and sound lie in the file, and its content security policy forbids
everything else, also scripts and styles other than its own two, which it knows by their hashes.
"""

import base64
import hashlib
import json
from argparse import Namespace
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
_SLACK = 1000  # bytes for the sentences on the mistakes that are there


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
