"""The scripts' parser, which knows which flags were really given."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path


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
