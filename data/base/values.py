"""The values that flags take: each kind says what it wants, and refuses what no run could use.

Limits are far beyond any use; what passes them would end in a traceback, in numbers that are none, or never.
"""

import argparse
import math

MOST = 2**31 - 1


def whole(text: str) -> int:
    return _number(text, int, lambda x: x >= 0, "a whole number from 0 up")


def count(text: str) -> int:
    return _number(text, int, lambda x: 1 <= x <= MOST, f"a whole number from 1 up to {MOST}")


def width(text: str) -> int:
    return _number(text, int, lambda x: 1 <= x <= 4096, "a whole number from 1 to 4096")


def positive(text: str) -> float:
    return _number(text, float, lambda x: 0 < x <= 1e12, "a positive number (up to 1e12)")


def not_negative(text: str) -> float:
    return _number(text, float, lambda x: 0 <= x <= 1e12, "a number from 0 up to 1e12")


def share(text: str) -> float:
    return _number(text, float, lambda x: 0 <= x < 1, "a share from 0 up to, not including, 1")


def probability(text: str) -> float:
    return _number(text, float, lambda x: 0 <= x <= 1, "a probability from 0 to 1")


def clip_seconds(text: str) -> float:
    return _number(text, float, lambda x: 0.1 <= x <= 60, "a number of seconds from 0.1 to 60")


def megabytes(text: str) -> float:
    return _number(text, float, lambda x: 0.5 <= x <= 500, "a number of megabytes from 0.5 to 500")


def decibels(text: str) -> float:
    return _number(text, float, lambda x: -100 <= x <= 100, "a number of decibels from -100 to 100")


def score(text: str) -> float:
    """Of a similarity, from which the level of others may have been taken."""
    return _number(text, float, lambda x: -2 <= x <= 2, "a score from -2 to 2")


def sample_rate(text: str) -> int:
    return _number(text, int, lambda x: 1_000 <= x <= 1_000_000, "a number of samples a second from 1000 to 1000000")


def channels(text: str) -> int:
    return _number(text, int, lambda x: 1 <= x <= 1024, "a number of channels from 1 to 1024")


def _number(text: str, kind, condition, wanted: str):
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not condition(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value
