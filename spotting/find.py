"""Find enrolled words in recordings of any length and format, or in raw samples on standard input.

    python -m spotting.find words.json meeting.flac --out hits.csv
    arecord -t raw -f S16_LE -r 16000 -c 1 | python -m spotting.find words.json -
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from data.base.errors import UserError, exit_cleanly
from data.base.files import check_output
from data.base.values import channels, sample_rate
from spotting.command import add_channel, add_hop, add_output, add_selection, check_kept, open_words, warn
from spotting.encoders.load import add_encoder
from spotting.hits.hits_file import COLUMNS, Found, check_ending, row, write_hits
from spotting.hits.search import paused, search
from spotting.sound.blocks import PCM, files_of, open_file, open_raw
from spotting.sound.heard import Heard, Remarks
from spotting.stream import Recent, as_json

STDIN = "-"


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
    add_selection(parser)
    add_output(parser)
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
        check_ending(args.out, len(recordings))
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
        for line in remarks.lines(words.words):
            warn(line)
        hits, seconds = sum(len(f.hits) for f in found), sum(f.seconds for f in found)
        warn(f"{hits} hits in {seconds:.1f} s of sound, {seconds / max(took, 1e-9):.1f} times real time"
             + (f"; wrote {args.out}" if args.out else "") + ("" if complete else "; not all was heard"))
    if failed:
        raise UserError(f"{failed} of {len(recordings)} recordings could not be searched; see above")
    return 0


def inputs(names: Sequence[str]) -> tuple[list[str], bool]:
    """The recordings that names stand for, and whether some in folders were left out, which is told."""
    left_out: list[str] = []
    found = [file for name in names
             for file in ([name] if name == STDIN else files_of([name], "RECORDING", left_out.append))]
    for line in left_out:
        warn(line)
    if STDIN in found and (found.count(STDIN) > 1 or sys.stdin is None or sys.stdin.isatty()):
        raise UserError(f"RECORDING {STDIN}: pipe raw samples to standard input, which can be read once")
    return found, bool(left_out)


def show_row(cells: Sequence[str], widths: Sequence[int]) -> None:
    """A line of the table, whose rows come one by one."""
    print("  ".join(cell.ljust(width) if i in (0, 3) else cell.rjust(width)
                    for i, (cell, width) in enumerate(zip(cells, widths, strict=True))).rstrip(), flush=True)


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


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
