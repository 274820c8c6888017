"""The scripts' parser: which flags were really given, and which make no sense without or with another."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

# Flags that have no effect unless one of these is on.
NEEDS = {
    "noise_snr": ("augment",), "noise_dir": ("augment",), "babble_snr": ("babble",), "gain_db": ("gain",),
    "per_class": ("batch_classes",), "html_mb": ("html",), "eval_clips": ("new_words",),
    "enroll": ("shots", "protocol"), "unknown": ("shots", "protocol"), "repeats": ("shots", "protocol"),
    "seed": ("shots", "protocol"), "baselines": ("shots", "protocol"), "cohort": ("unknown", "protocol"),
}
# Flags that have no effect where these are on.
WITHOUT = {
    "new_words": ("shots", "protocol", "k", "ties", "plot", "save", "html"), "shots": ("k", "ties"),
    "protocol": ("k", "ties"), "batch_classes": ("batch_size",), "enc_name": ("init_from",),
    "enc_step": ("init_from",),
}


class Parser(argparse.ArgumentParser):
    """Argument groups, an example line, and the flags that were really given."""

    def __init__(self, description: str, example: str):
        super().__init__(prog=example.split()[1], description=description, epilog=f"example:\n  {example}",
                         allow_abbrev=False,
                         usage="%(prog)s --name NAME --manifest MANIFEST --model MODEL [other flags]",
                         formatter_class=argparse.RawDescriptionHelpFormatter)

    def parse(self, argv: Sequence[str] | None = None) -> argparse.Namespace:
        """Like `parse_args`; the result's ``given`` holds the flags on the command line, ``command`` is that line, and
        ``fits`` is `Parser.fits`.
        """
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
        tell_idle(args)
        return args

    def fits(self, flag: str, value) -> bool:
        """Whether a value read from JSON is one that the flag could have had; of a flag that there is not, any is."""
        action = next((action for action in self._actions if action.dest == flag), None)
        if action is None:
            return True
        if value is None:
            return action.default is None and not action.required
        if action.nargs == 0:  # on or off
            return isinstance(value, bool)
        several = action.nargs is not None and action.nargs != "?"
        if (several and not isinstance(value, list)) or (isinstance(action.nargs, int) and len(value) != action.nargs):
            return False
        return all(_fits(action, one) for one in (value if several else [value]))


def _fits(action: argparse.Action, value) -> bool:
    if action.type in (None, str, Path):
        fits = isinstance(value, str)
    else:
        try:
            fits = isinstance(value, int | float) and not isinstance(value, bool) and action.type(repr(value)) == value
        except (argparse.ArgumentTypeError, ValueError):
            fits = False
    return fits and (action.choices is None or value in action.choices)


def tell_idle(args: argparse.Namespace) -> None:
    """Warn of flags that were given and have no effect by `NEEDS` or `WITHOUT`."""
    def on(flag: str) -> bool:
        return getattr(args, flag, None) not in (None, False)

    idle = {flag: f"without --{needed[0]}" for flag, needed in NEEDS.items()
            if hasattr(args, needed[0]) and not any(map(on, needed))}
    idle |= {flag: f"with --{other}" for other, flags in WITHOUT.items() if on(other) for flag in flags}
    for flag, why in idle.items():
        if flag in args.given and os.environ.get("RANK", "0") == "0":  # torchrun's first process speaks for all
            print(f"warning: --{flag} has no effect {why}", file=sys.stderr)
