"""The 35 Speech Commands words, or any list of words, spoken by eSpeak NG: a data set that needs no download."""

import argparse
from pathlib import Path

from data.base import values
from data.base.errors import UserError, exit_cleanly
from data.base.files import ROOT, read_lines
from data.demo.synthesis import DEFAULTS, VOICES, make
from data.manifests.registry import REGISTRY, check_data_set_name


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.demo", description=__doc__.split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="example: python -m data.demo --name=demo1 --out=datasets/demo1 --seed=1")
    size = parser.add_argument_group("what to make")
    size.add_argument("--seed", type=values.seed, default=DEFAULTS["seed"],
                      help="of the split, dialects, rates, pitches, levels and noise")
    size.add_argument("--voices", type=values.within(int, 3, len(VOICES)), default=DEFAULTS["voices"],
                      help=f"how many speakers, 3 to {len(VOICES)}")
    size.add_argument("--takes", type=values.count, default=DEFAULTS["takes"],
                      help="clips of every word by every speaker")
    size.add_argument("--words", type=Path, metavar="FILE", help="a text file of other words to say, one a line; give "
                      "the data set a name of its own")
    size.add_argument("--voices_per_word", type=values.count, metavar="N", help="let only N of the training voices say "
                      "each word, drawn for each, and an eighth as many of those of dev and of test (default: all)")
    place = parser.add_argument_group("where to put it")
    place.add_argument("--out", type=Path, default=None, help="folder to make (default: datasets/NAME)")
    place.add_argument("--name", default="demo", help="what --manifest calls it")
    place.add_argument("--registry", type=Path, default=REGISTRY, help="file to register it in")
    return values.parse(parser, argv)


def main(args: argparse.Namespace) -> None:
    check_data_set_name(args.name)
    if (args.words is not None or args.voices_per_word is not None) and args.name == "demo":
        raise UserError("--words and --voices_per_word make other data than the demo; give it a name with --name")
    make(args.out or ROOT / "datasets" / args.name, args.seed, args.registry, name=args.name, voices=args.voices,
         takes=args.takes, words=args.words and read_lines(args.words), voices_per_word=args.voices_per_word,
         made_by=args.command)
    print(f"registered {args.name!r}; use it with --manifest={args.name}")


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
