"""The values that flags take: each kind says what it wants, and refuses what no run could use."""

import argparse
import math
import re
import shlex
import sys
from collections.abc import Callable, Sequence


def within(kind: type, least: float, most: float = math.inf, what: str = "", above: bool = False,
           below: bool = False) -> Callable[[str], float]:
    """Numbers called ``what``, int or float, within bounds, which ``above`` and ``below`` leave out themselves."""
    name = what or {int: "a whole number", float: "a number"}[kind]
    bounds = f"above {least:g}" if above else f"from {least:g}"
    bounds += " up" if most == math.inf else f" up to {'below ' * below}{most:.10g}"

    def number(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or (above and value == least) or (below and value == most):
            raise argparse.ArgumentTypeError(f"{text!r} is not {name} {bounds}")
        return value
    return number


whole = within(int, 0)
count = within(int, 1, 2**31 - 1)
seed = within(int, 0, 2**31 - 1)
width = within(int, 1, 4096)
positive = within(float, 0, 1e12, above=True)
not_negative = within(float, 0, 1e12)
share = within(float, 0, 1, "a share", below=True)
probability = within(float, 0, 1, "a probability")
clip_seconds = within(float, 0.1, 60, "a number of seconds")
megabytes = within(float, 0.5, 500, "a number of megabytes")
decibels = within(float, -100, 100, "a number of decibels")
score = within(float, -2, 2, "a score")  # of a similarity, from which the level of others may have been taken
sample_rate = within(int, 1_000, 1_000_000, "a number of samples a second")
channels = within(int, 1, 1024, "a number of channels")


def one_group(text: str) -> str:
    """A regular expression whose first group is what is looked for, such as a speaker's name."""
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression ({error})") from None
    if not groups:
        raise argparse.ArgumentTypeError(f"{text!r} has no group: put the speaker's part in parentheses")
    return text


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, and ``command``, the line that was given."""
    args = parser.parse_args(argv)
    args.command = shlex.join([*parser.prog.split(), *(sys.argv[1:] if argv is None else argv)])
    return args
