"""Labels and speakers as texts: one spelling of what looks the same."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from data.base.errors import UserError


def clean(name: str, where: str) -> str:
    """``name`` in composed form (NFC), without blanks around it and with single ones in it.

    A Mac decomposes accents where Linux does not, and a blank at the end is not seen: without this, one word becomes
    two classes.

    Args:
        where: what it names and in which file, for the messages.

    Raises:
        UserError: nothing is left, it has control characters, or it is not valid UTF-8.
    """
    if re.search("[\ud800-\udfff]", name):
        raise UserError(f"{where} {name!a}: the name is not valid UTF-8; rename it")
    if any(unicodedata.category(c) == "Cc" for c in name):
        raise UserError(f"{where} {name!r}: has control characters in its name; rename it")
    cleaned = " ".join(unicodedata.normalize("NFC", name).split())
    if not cleaned:
        raise UserError(f"{where} {name!r}: has no name; rename it")
    return cleaned


def lookalikes(names: Iterable[str]) -> list[list[str]]:
    """Groups of different names that differ only by case, width, blanks, or characters that are not seen."""
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
        groups["".join(c for c in folded if unicodedata.category(c) not in ("Cf", "Zs"))].add(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)
