"""Hold two tests of the same clips against each other, clip by clip: A.csv and B.csv as a test script leaves them.

Prints of each the accuracy and the mean of the words' recalls, how many clips only the one has right, and the exact
two-sided McNemar test: how probable so uneven a split is if each of these clips is as likely to be the one's as the
other's. It takes clips for independent; clips of one speaker are less than that.
"""

import argparse
import csv
import statistics
from collections import defaultdict
from pathlib import Path

from data.base.errors import UserError, exit_cleanly
from data.base.files import read_text
from experiments.summary import mcnemar, p_value, table


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments.paired", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path, metavar="A.csv")
    parser.add_argument("b", type=Path, metavar="B.csv")
    return parser.parse_args(argv)


def read_tested(path: Path) -> dict[tuple[str, str, str], str]:
    """A test's clips, each by path, offset and label: what it was taken for. Raises UserError for what is no such CSV,
    or has no clip, or one twice."""
    text = read_text(path, "table of tested clips", "name the .csv beside a test's .json")
    try:
        rows = [((row["path"], row.get("offset", ""), row["label"]), row["prediction"])
                for row in csv.DictReader(text.split("\n"), strict=True)]
        clips = dict(rows)
        if not clips or len(clips) < len(rows) or None in clips.values():
            raise ValueError("no clips, some of them twice, or half a line")
        return clips
    except (csv.Error, KeyError, ValueError) as error:
        raise UserError(f"{path}: not the .csv that a test script leaves ({error}); test again") from None


def main(args: argparse.Namespace) -> int:
    a, b = read_tested(args.a), read_tested(args.b)
    if unlike := sorted(a.keys() ^ b.keys()):
        raise UserError(f"{args.a} and {args.b} differ in {len(unlike):,} clips or labels, such as {unlike[0][0]}")

    right = ["".join("01"[clip[2] == of[clip]] for clip in a) for of in (a, b)]
    *only, p = mcnemar(*right)
    rows = [["test", "accuracy %", "recall, mean of words %", "right", "only this right"]]
    for path, marks, alone in zip((args.a, args.b), right, only, strict=True):
        words = defaultdict(list)
        for clip, mark in zip(a, marks, strict=True):
            words[clip[2]].append(int(mark))
        recall, count = statistics.mean(map(statistics.fmean, words.values())), marks.count("1")
        rows.append([path.name if args.a.name != args.b.name else str(path), f"{100 * count / len(marks):.2f}",
                     f"{100 * recall:.2f}", f"{count:,} of {len(marks):,}", f"{alone:,}"])
    print("\n".join(table(rows)))
    print(f"McNemar p {p_value(p)}")
    return 0


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
