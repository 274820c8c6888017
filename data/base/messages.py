"""Phrases that many messages need."""

import difflib
from collections.abc import Iterable


def first_few(names: Iterable[str], most: int = 5, between: str = ", ") -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The name that is spelled most like a wrong one, as the end of a message; empty if there is none."""
    spelt = {known.casefold(): known for known in names}
    close = difflib.get_close_matches(name.casefold(), spelt, n=1)
    return f" (did you mean {spelt[close[0]]!r}?)" if close else ""
