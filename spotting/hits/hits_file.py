"""Hits as a file: a table (.csv), JSON, a Praat TextGrid with a tier a word, or Audacity's labels (.txt)."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.base.errors import UserError
from data.base.files import write_atomically
from data.sources.textgrids import as_textgrid
from spotting.hits.match import Hit

ENDINGS = (".csv", ".json", ".TextGrid", ".txt")
COLUMNS = ("recording", "start", "end", "word", "score")


@dataclass
class Found:
    """What was found in one recording, of which ``seconds`` were heard; ``whole``: as many as its header says."""

    recording: str
    seconds: float
    hits: list[Hit]
    whole: bool = True


def check_ending(path: Path, recordings: int) -> None:
    """Raise UserError for an ending that is none of `ENDINGS`, or whose format holds one recording only."""
    if path.suffix not in ENDINGS:
        raise UserError(f"--out {path}: ends in none of {', '.join(ENDINGS)}, which say the format")
    if recordings > 1 and path.suffix in (".TextGrid", ".txt"):
        raise UserError(f"--out {path}: a {path.suffix} file is about one recording, and {recordings} are named; give "
                        "one, or choose .csv or .json")


def write_hits(path: Path, found: Sequence[Found], words: Sequence[str], complete: bool) -> None:
    """Write hits in the format of the ending; where none were found, too. ``words`` are all that were looked for;
    ``complete`` is whether all of the recordings was heard, which JSON says."""
    text = {".csv": lambda: _csv(found), ".json": lambda: _json(found, words, complete), ".txt": lambda: _labels(found),
            ".TextGrid": lambda: _textgrid(found, words)}[path.suffix]()
    with write_atomically(path) as file:
        file.write(text)


def row(recording: str, hit: Hit) -> tuple[str, ...]:
    """A hit's cells, of `COLUMNS`."""
    return recording, f"{hit.start:.2f}", f"{hit.end:.2f}", hit.word, f"{hit.score:.3f}"


def _csv(found: Sequence[Found]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(row(f.recording, hit) for f in found for hit in f.hits)
    return table.getvalue()


def _json(found: Sequence[Found], words: Sequence[str], complete: bool) -> str:
    return json.dumps({"complete": complete, "words": list(words), "recordings": [
        {"recording": f.recording, "seconds": round(f.seconds, 3), "hits": [
            {"start": round(hit.start, 3), "end": round(hit.end, 3), "word": hit.word, "score": round(hit.score, 6)}
            for hit in f.hits]} for f in found]}, indent=1, ensure_ascii=False) + "\n"


def _labels(found: Sequence[Found]) -> str:
    return "".join(f"{hit.start:.6f}\t{hit.end:.6f}\t{' '.join(hit.word.split())} {hit.score:.3f}\n"
                   for f in found for hit in f.hits)


def _textgrid(found: Sequence[Found], words: Sequence[str]) -> str:
    hits = sorted((hit for f in found for hit in f.hits), key=lambda hit: hit.start)
    tiers = {word: [] for word in words}
    for hit in hits:
        end = tiers[hit.word][-1][2] if tiers[hit.word] else 0.0
        tiers[hit.word].append((f"{hit.score:.3f}", max(hit.start, end), hit.end))
    # Some time must pass in a TextGrid, and a hit of zero padding may end after the recording.
    return as_textgrid(tiers, max([0.001, *(f.seconds for f in found), *(hit.end for hit in hits)]))
