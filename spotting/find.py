"""Find enrolled words in recordings of any length and format, or in raw samples on standard input.

    python -m spotting.find words.json meeting.flac --out hits.csv
    arecord -t raw -f S16_LE -r 16000 -c 1 | python -m spotting.find words.json -
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from data.base.errors import UserError, exit_cleanly
from data.base.files import check_output, write_atomically
from data.base.values import channels, sample_rate
from data.sources.textgrids import as_textgrid
from spotting.command import add_channel, add_hits, add_hop, check_kept, open_words, warn
from spotting.encoders.load import add_encoder
from spotting.hits import Hit, paused, search
from spotting.sound.blocks import PCM, files_of, open_file, open_raw
from spotting.sound.heard import Heard, Remarks
from spotting.stream import Recent, as_json

STDIN = "-"
ENDINGS = (".csv", ".json", ".TextGrid", ".txt")  # a table, JSON, Praat's with a tier a word, Audacity's labels
COLUMNS = ("recording", "start", "end", "word", "score")


@dataclass
class Found:
    """What was found in one recording, of which ``seconds`` were heard; ``whole``: as many as its header says."""

    recording: str
    seconds: float
    hits: list[Hit]
    whole: bool = True


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m spotting.find", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", type=Path, metavar="WORDS", help="the file that spotting.enroll wrote")
    parser.add_argument("recordings", nargs="+", metavar="RECORDING",
                        help="audio files, folders of such, or - for raw samples on standard input")
    parser.add_argument("--out", type=Path, metavar="FILE",
                        help="also write the hits: .csv, .json, .TextGrid (Praat) or .txt (Audacity's labels); what "
                             "was found is written too if the search is interrupted")
    add_channel(parser)
    add_hop(parser)
    add_hits(parser)
    raw = parser.add_argument_group("raw samples", "What comes on standard input.")
    raw.add_argument("--rate", type=sample_rate, default=16_000, help="samples a second (default: 16000)")
    raw.add_argument("--channels", type=channels, default=1, help="(default: 1)")
    raw.add_argument("--pcm", choices=tuple(PCM), default="s16",
                     help="little-endian 16-bit integers, or floats of 32 bits (default: s16)")
    add_encoder(parser, "the one that the words were enrolled with")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    # Flags, words, encoder.
    recordings, left_out = inputs(args.recordings)
    if args.out:
        if args.out.suffix not in ENDINGS:
            raise UserError(f"--out {args.out}: ends in none of {', '.join(ENDINGS)}, which say the format")
        if len(recordings) > 1 and args.out.suffix in (".TextGrid", ".txt"):
            raise UserError(f"--out {args.out}: a {args.out.suffix} file is about one recording, and {len(recordings)} "
                            "are named; give one, or choose .csv or .json")
        check_kept("--out", args.out, [args.words, *recordings])
        check_output(args.out)
    words, embedder, hop = open_words(args)

    # The search.
    widths = [max(map(len, ["recording", *recordings])), 9, 9, max(map(len, ["word", *words.names])), 6]
    if not args.json:
        show_row(COLUMNS, widths)
    found, remarks, failed, complete, begun = [], Remarks(), 0, False, time.perf_counter()
    try:
        for name in recordings:
            try:
                for hit, since in hits_in(args, name, embedder, words, hop, found, remarks):
                    if args.json:
                        print(as_json(hit, since, name), flush=True)
                    else:
                        show_row(row(name, hit), widths)
            except UserError as error:
                if len(recordings) == 1:
                    raise
                warn(f"error: {error}")  # the others can be searched all the same
                failed += 1
        complete = not failed and not left_out and all(f.whole for f in found)

    # What was found, also after Ctrl-C.
    finally:
        took = time.perf_counter() - begun
        if args.out:
            write_hits(args.out, found, words.names, complete)
        warn(*remarks.lines(words.words))
        hits, seconds = sum(len(f.hits) for f in found), sum(f.seconds for f in found)
        warn(f"{hits} hits in {seconds:.1f} s of sound, {seconds / max(took, 1e-9):.1f} times real time"
             + (f"; wrote {args.out}" if args.out else "") + ("" if complete else "; not all was heard"))
    if failed:
        raise UserError(f"{failed} of {len(recordings)} recordings could not be searched; see above")
    return 0


def inputs(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The recordings that names stand for, and lines, which are told, on those in folders that were left out."""
    left_out: list[str] = []
    found = [file for name in names
             for file in ([name] if name == STDIN else files_of([name], "RECORDING", left_out.append))]
    warn(*left_out)
    if STDIN in found and (found.count(STDIN) > 1 or sys.stdin is None or sys.stdin.isatty()):
        raise UserError(f"RECORDING {STDIN}: pipe raw samples to standard input, which can be read once")
    return found, left_out


def hits_in(args, name, embedder, words, hop, found, remarks):
    """The hits of one recording as they are decided, each with the time at which a stream began, None of a file;
    ``found`` and ``remarks`` get it, also when it breaks off."""
    live = name == STDIN
    sound = open_raw(sys.stdin.buffer, "standard input", args.rate, args.channels, args.pcm, warn,
                     channel=args.channel) if live else open_file(name, warn, channel=args.channel)
    heard, this, recent = Heard(), Found(name, 0.0, []), Recent(args.keep)
    found.append(this)
    sound.blocks = recent.passing(sound.blocks)
    with tqdm(total=sound.seconds and round(sound.seconds), desc=Path(name).name[:30], unit=" s", leave=False,
              disable=None) as progress:
        def reached():
            for _, hit in search(sound, embedder, words.words, hop, heard, 1 if live else None,
                                 1 if args.all_words else len(words.words)):
                progress.update(int(heard.seconds) - progress.n)
                if hit.above >= 0:
                    yield hit

        try:
            for hit in paused(reached(), args.pause):
                this.hits.append(hit)
                recent.keep(hit, "stdin" if live else Path(name).stem)
                yield hit, recent.begun if live else None
        finally:
            this.seconds, this.whole = heard.seconds, sound.whole
            remarks.add(name, heard)
    if not heard.seconds:
        raise UserError(f"{sound.name}: no sound came")


def row(recording: str, hit: Hit) -> tuple[str, ...]:
    """A hit's cells, of `COLUMNS`."""
    return recording, f"{hit.start:.2f}", f"{hit.end:.2f}", hit.word, f"{hit.score:.3f}"


def show_row(cells: Sequence[str], widths: Sequence[int]) -> None:
    """A line of the table, whose rows come one by one."""
    print("  ".join(cell.ljust(width) if i in (0, 3) else cell.rjust(width)
                    for i, (cell, width) in enumerate(zip(cells, widths, strict=True))).rstrip(), flush=True)


def write_hits(path: Path, found: Sequence[Found], words: Sequence[str], complete: bool) -> None:
    """Write hits in the format of the ending; where none were found, too. ``words`` are all that were looked for;
    ``complete`` is whether all of the recordings was heard, which JSON says."""
    hits = [(f.recording, hit) for f in found for hit in f.hits]
    with write_atomically(path) as file:
        if path.suffix == ".csv":
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *(row(*entry) for entry in hits)])
        elif path.suffix == ".txt":
            file.writelines(f"{hit.start:.6f}\t{hit.end:.6f}\t{' '.join(hit.word.split())} {hit.score:.3f}\n"
                            for _, hit in hits)
        elif path.suffix == ".TextGrid":
            tiers = {word: [] for word in words}
            for _, hit in sorted(hits, key=lambda entry: entry[1].start):
                end = tiers[hit.word][-1][2] if tiers[hit.word] else 0.0
                tiers[hit.word].append((f"{hit.score:.3f}", max(hit.start, end), hit.end))
            # One of zero padding may end after the recording.
            ends = [0.001, *(f.seconds for f in found), *(hit.end for _, hit in hits)]
            file.write(as_textgrid(tiers, max(ends)))
        else:
            json.dump({"complete": complete, "words": list(words), "recordings": [
                {"recording": f.recording, "seconds": round(f.seconds, 3), "hits": [
                    {"start": round(hit.start, 3), "end": round(hit.end, 3), "word": hit.word,
                     "score": round(hit.score, 6)} for hit in f.hits]} for f in found]},
                file, indent=1, ensure_ascii=False)
            file.write("\n")


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
