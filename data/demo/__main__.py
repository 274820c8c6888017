"""The 35 Speech Commands words spoken by eSpeak NG: a data set that needs no download."""

import argparse
from pathlib import Path

from data.base.errors import exit_cleanly
from data.demo.synthesis import VOICES, make
from data.manifests import REGISTRY, ROOT
from data.sources.claim import check_data_set_name


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.demo", description=__doc__.split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="example: python -m data.demo --name=demo1 --out=datasets/demo1 --seed=1")
    size = parser.add_argument_group("what to make")
    size.add_argument("--seed", type=int, default=0, help="of the split, dialects, rates, pitches, levels and noise")
    size.add_argument("--voices", type=int, default=len(VOICES), help=f"how many speakers, 3 to {len(VOICES)}")
    size.add_argument("--takes", type=int, default=4, help="clips of every word by every speaker")
    place = parser.add_argument_group("where to put it")
    place.add_argument("--out", type=Path, default=None, help="folder to make (default: datasets/NAME)")
    place.add_argument("--name", default="demo", help="what --manifest calls it")
    place.add_argument("--registry", type=Path, default=REGISTRY, help="file to register it in")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    check_data_set_name(args.name)
    out = args.out or ROOT / "datasets" / args.name
    make(out, args.seed, args.registry, name=args.name, voices=args.voices, takes=args.takes)
    print(f"registered {args.name!r}; use it with --manifest={args.name}")


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
