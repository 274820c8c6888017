"""Hold two tests of the same clips against each other, clip by clip: A.csv and B.csv as a test script leaves them.

Prints of each the accuracy and the mean of the words' recalls, how many clips only the one has right, and the exact
two-sided McNemar test: how probable so uneven a split is if each of these clips is as likely to be the one's as the
other's. It takes clips for independent; clips of one speaker are less than that.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

from data.base.errors import UserError, exit_cleanly
from data.base.files import read_text

NEEDED = ("path", "label", "prediction")


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.paired", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  python -m experiments.paired runs/test_encoder/knn-demo-Res8-200.csv "
               "runs/test_classifier/head-demo-Res8-200-30.csv")
    parser.add_argument("a", type=Path, metavar="A.csv")
    parser.add_argument("b", type=Path, metavar="B.csv")
    return parser.parse_args(argv)


def read_tested(path: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """A test's clips, each by its path and offset: its label and what it was taken for.

    Raises:
        UserError: no CSV of a test script, one without a clip, or with one clip twice.
    """
    text = read_text(path, "table of tested clips", "name the .csv beside a test's .json")
    lines = csv.DictReader(text.split("\n"), strict=True)
    clips: dict[tuple[str, str], tuple[str, str]] = {}
    try:
        missing = [name for name in NEEDED if name not in (lines.fieldnames or ())]
        if missing:
            raise UserError(f"{path}: has no column {missing[0]!r}; name the .csv that infer_train.py or "
                            "infer_notl.py leaves of a test")
        for row in lines:
            if None in row or None in row.values():
                raise UserError(f"{path}, line {lines.line_num}: not as many cells as the first line has; test again")
            clip = row["path"], row.get("offset") or ""
            if clip in clips:
                raise UserError(f"{path}, line {lines.line_num}: {_said(clip)} for the second time; test a manifest "
                                "that has each clip once")
            clips[clip] = row["label"], row["prediction"]
    except csv.Error as error:
        raise UserError(f"{path}, line {lines.line_num}: no CSV ({error}); test again") from error
    if not clips:
        raise UserError(f"{path}: has no clip; test again")
    return clips


def check_same(a: dict, b: dict, path_a: Path, path_b: Path) -> None:
    """Raise UserError unless both tests are of the same clips with the same labels."""
    way_out = "test both on the same manifest"
    for one, other, here, there in ((a, b, path_a, path_b), (b, a, path_b, path_a)):
        if lacking := [clip for clip in one if clip not in other]:
            raise UserError(f"{there} lacks {len(lacking):,} of the {len(one):,} clips of {here} (first: "
                            f"{_said(lacking[0])}); {way_out}")
    if unlike := [clip for clip in a if a[clip][0] != b[clip][0]]:
        clip = unlike[0]
        raise UserError(f"{_said(clip)} is {a[clip][0]!r} in {path_a} and {b[clip][0]!r} in {path_b}, and "
                        f"{len(unlike) - 1:,} more clips differ in their label; {way_out}")


def _said(clip: tuple[str, str]) -> str:
    return clip[0] + (f" at {clip[1]} s" if clip[1] else "")


def recall(clips: dict) -> float:
    """The mean of the words' recalls, 0 to 1."""
    of_word: dict[str, list[bool]] = defaultdict(list)
    for label, prediction in clips.values():
        of_word[label].append(label == prediction)
    return sum(sum(right) / len(right) for right in of_word.values()) / len(of_word)


def main(args: argparse.Namespace) -> int:
    a, b = read_tested(args.a), read_tested(args.b)
    check_same(a, b, args.a, args.b)

    from experiments.summary import mcnemar, p_value, table

    right = ["".join("01"[of[clip][0] == of[clip][1]] for clip in a) for of in (a, b)]
    only_a, only_b, p = mcnemar(*right)
    rows = [["test", "accuracy %", "recall, mean of words %", "right", "only this right"]]
    rows += [[path.name if args.a.name != args.b.name else str(path), f"{100 * marks.count('1') / len(marks):.2f}",
              f"{100 * recall(of):.2f}", f"{marks.count('1'):,} of {len(marks):,}", f"{only:,}"]
             for path, of, marks, only in ((args.a, a, right[0], only_a), (args.b, b, right[1], only_b))]
    print("\n".join(table(rows)))
    print(f"McNemar p {p_value(p)}")
    return 0


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
