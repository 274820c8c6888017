"""The scripts' parser, and the flags of all four: the run, the data and the encoder."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from data.base.files import CACHE, ROOT
from data.base.values import clip_seconds, count, whole, width
from models.context import SECONDS, SHARED

MODELS = ("Res8", "Res15", "Quartz")


class Parser(argparse.ArgumentParser):
    """Argument groups, an example line, and the flags that were really given."""

    def __init__(self, description: str, example: str):
        super().__init__(prog=example.split()[1], description=description, epilog=f"example:\n  {example}",
                         allow_abbrev=False,
                         usage="%(prog)s --name NAME --manifest MANIFEST --model MODEL [other flags]",
                         formatter_class=argparse.RawDescriptionHelpFormatter)

    def parse(self, argv: Sequence[str] | None = None) -> argparse.Namespace:
        """Like `parse_args`, with ``given``, the flags on the command line, ``command``, that line, and ``fits``."""
        argv = sys.argv[1:] if argv is None else argv
        args = self.parse_args(argv)
        args.command = shlex.join(["python", self.prog, *argv])
        defaults = [(action, action.default) for action in self._actions]
        for action, _ in defaults:
            action.default = argparse.SUPPRESS
        args.given = vars(self.parse_args(argv))
        for action, default in defaults:
            action.default = default
        args.fits = self.fits
        return args

    def fits(self, flag: str, value) -> bool:
        """Whether a value read from JSON is one that the flag could have had; of a flag that there is not, any is."""
        action = next((action for action in self._actions if action.dest == flag), None)
        if action is None or value is None:
            return action is None or (action.default is None and not action.required)
        if action.nargs == 0:  # on or off
            return isinstance(value, bool)
        values = value if isinstance(value, list) else [value]
        return isinstance(value, list) == (action.nargs not in (None, "?")) and all(_fits(action, v) for v in values) \
            and len(values) == (action.nargs if isinstance(action.nargs, int) else len(values))


def _fits(action: argparse.Action, value) -> bool:
    if action.type in (None, str, Path):
        return isinstance(value, str) and (action.choices is None or value in action.choices)
    try:
        return action.type(repr(value)) == value and (action.choices is None or value in action.choices)
    except (argparse.ArgumentTypeError, ValueError):
        return False


def add_run(parser: Parser, name_help: str) -> None:
    add = parser.add_argument_group("run").add_argument
    add("--name", required=True, help=name_help)
    add("--runs_dir", type=Path, default=Path("runs"), help="where runs lie (default: runs)")
    add("--gpu", type=whole, default=0, help="number of the GPU to use; without one, the CPU is used (default: 0)")


def add_data(parser: Parser) -> None:
    add = parser.add_argument_group("data").add_argument
    add("--manifest", required=True,
        help="a name registered in manifests.json: 10, 100, 1000, 10000 (LibriWords), 12, 35 (Speech Commands), demo "
             "(made on first use), or your own; several are joined by +, as a+b")
    add("--registry", type=Path, default=ROOT / "manifests.json",
        help="the file that --manifest names are looked up in (default: manifests.json beside the scripts)")
    add("--clip_seconds", type=clip_seconds,
        help="length of a clip, 0.1 to 60: longer ones are cut around their centre, shorter ones zero-padded (default: "
             "1.0; a checkpoint's own where one is loaded)")
    add("--cache_dir", type=Path, default=CACHE,
        help="where decoded audio is kept for the next run (default: datasets/cache)")
    add("--skip_bad_audio", action="store_true",
        help="leave out clips that cannot be decoded or are silent, instead of stopping (default: off)")


def add_model(parser: Parser, fixed: bool = False) -> None:
    """``fixed``: the width always comes from a checkpoint."""
    add = parser.add_argument_group("model").add_argument
    add("--model", required=True, choices=MODELS, help="the encoder")
    default = "the checkpoint's" if fixed else "45, of Quartz 128; a checkpoint's own where one is loaded"
    add("--hidden_size", type=width,
        help=f"channels of Res8 and Res15, and size of the embedding (default: {default})")
    add("--embedding_size", type=width,
        help="size of the embedding where it is to differ from the channels, by a linear projection (default: "
             "--hidden_size; a checkpoint's own where one is loaded)")
    if not fixed:
        add("--compression", choices=("log", SHARED),
            help="of the mel spectrogram: the logarithm normalised by each clip's own mean and deviation, or by "
                 f"constants, with {SECONDS:g} s of context at both ends of a clip, so that what windows share is "
                 "computed once by spotting (default: log; a checkpoint's own where one is loaded)")
        add("--parts", type=count,
            help="stretches of time that Res8 takes a mean over each, for a linear projection: the order of sounds "
                 "counts then (default: 1; a checkpoint's own where one is loaded)")


def repeated(args: argparse.Namespace) -> list[str]:
    """The flags that a later script needs again to find the same run and data, as far as they were given."""
    return [f"--{flag}={getattr(args, flag)}" for flag in ("runs_dir", "registry", "cache_dir", "gpu")
            if flag in args.given] + (["--skip_bad_audio"] if args.skip_bad_audio else [])
