"""What the commands share: flags, tables, lines beside the results."""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tabulate import tabulate

from data.base.errors import UserError
from data.base.files import open_regular
from data.base.values import channels, not_negative, positive, score
from spotting.encoders.load import Embedder, load
from spotting.words.words_file import Words, read_words, suited

FA_PER_HOUR = 0.5  # false alarms that thresholds allow, unless another rate is asked for


def add_hop(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--hop", type=positive, default=0.1, metavar="S",
                        help="seconds between windows; an encoder with context, as the shipped one, takes the nearest "
                             "multiple of 0.03 (default: 0.1)")


def add_channel(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--channel", type=channels, metavar="N",
                        help="which channel to hear where there are several, the first is 1 (default: their mean)")


def add_hits(parser: argparse.ArgumentParser) -> None:
    """The flags that choose among hits, and say how they are given to other programs and kept."""
    parser.add_argument("--threshold", type=_threshold, action="append", metavar="[WORD=]T",
                        help="the least score of a hit of a word, or of any; several times (default: each word's own)")
    parser.add_argument("--all_words", action="store_true",
                        help="also tell a word where another one is further above its threshold (default: the best)")
    parser.add_argument("--pause", type=not_negative, default=0.0, metavar="S",
                        help="seconds after a hit in which no other one may begin, of any word (default: 0)")
    parser.add_argument("--json", action="store_true",
                        help="print a line of JSON a hit, of a stream with the clock's time at the word's end")
    parser.add_argument("--keep", type=Path, metavar="DIR",
                        help="write the sound that was taken for a word into this folder (default: off)")


def _threshold(text: str) -> tuple[str, float]:
    word, _, value = text.rpartition("=")
    return word, score(value)


def check_kept(flag: str, path: Path, inputs: Iterable[str | Path]) -> None:
    """Raise UserError for an output that would replace what is read, or a file of words."""
    if not path.is_file():
        return
    with open_regular(path) as file:
        words = b'"keyword-spotting words' in file.read(200)
    if words or any(os.path.exists(name) and os.path.samefile(path, name) for name in inputs):
        what = "a file of words" if words else "read here, too"
        raise UserError(f"{flag} {path}: is {what}, and would be lost; choose another name")


def open_words(args: argparse.Namespace) -> tuple[Words, Embedder, int]:
    """The words of WORDS with the thresholds that --threshold gives, their encoder, and --hop in samples."""
    words, given = read_words(args.words), dict(args.threshold or ())
    if unknown := sorted(given.keys() - {"", *words.names}):
        raise UserError(f"--threshold {unknown[0]}={given[unknown[0]]:g}: {args.words} has {', '.join(words.names)}")
    embedder = suited(words, load(args, words.encoder), args.words)
    hop = embedder.facts.hop_samples(args.hop)
    if "" not in given and set(words.names) - given.keys():
        warn_of_hop(args, words)
    for word in words.words:
        word.threshold = given.get(word.name, given.get("", word.threshold))
    return words, embedder, hop


def warn_of_hop(args: argparse.Namespace, words: Words) -> None:
    """Warn where thresholds were set with windows at another distance: more windows an hour, more false alarms."""
    if (then := words.calibration.get("hop", args.hop)) != args.hop:
        more, fewer = ("more", "fewer") if args.hop < then else ("fewer", "more")
        warn(f"warning: {args.words}: its thresholds were set with --hop {then:g}; with --hop {args.hop:g} there are "
             f"{more} false alarms an hour than they are for, and {fewer} misses")


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows of cells, the first column to the left, the others to the right."""
    print(tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=["left"] + ["right"] * (len(rows[0]) - 1)))


def warn(*lines: str) -> None:
    """Lines on stderr that are no part of the results."""
    for line in lines:
        print(line, file=sys.stderr)
