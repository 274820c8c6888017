"""Words that no encoder heard: a table for each protocol of several comparisons."""

import argparse
from pathlib import Path

from data.base.errors import UserError, exit_cleanly
from experiments import loop, summary


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments.new_words", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS",
                        help="compare.json of experiments.compare --methods shots")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    runs = {}
    for path in args.results:
        for name, result in loop.read(path).items():
            if runs.setdefault(name, result) != result:
                raise UserError(f"{path}: has another result of {name} than a file before it; leave one of them out")
    print(summary.words_markdown(runs.values()) or "no result of words never heard; make some with --methods shots")
    return 0


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
