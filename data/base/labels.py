"""Labels as people write them: one spelling for each, and twins; those of Speech Commands that are no single word."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from data.base.errors import first_few

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")  # Speech Commands' 12-class task
OTHER_WORD, SILENCE = "_unknown_", "_silence_"  # its others
# Control characters, line ends, those that turn the direction of writing, and halves of characters: a label from a
# file may have them, and fonts have none.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def one_form(label: str) -> str:
    """A label without blanks around it, in the Unicode form NFC: an accent is the same however it was typed."""
    return (label if label.isascii() else unicodedata.normalize("NFC", label)).strip()


def has_controls(text: str) -> bool:
    """Whether a text has control characters in it, line ends and tabs too."""
    return any(unicodedata.category(c) == "Cc" for c in text)


def twins(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that differ only by case, blanks or invisible characters."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(folded(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def folded(name: str) -> str:
    """A name without what the eye hardly tells apart: case, blanks, invisible characters, Unicode's forms of a text and
    its apostrophes."""
    if name.isascii():
        return "".join(name.casefold().split())
    name = name.replace("\u2019", "'").replace("\u02bc", "'")
    name = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(c for c in name if not c.isspace() and unicodedata.category(c) != "Cf")


def one_spelling(speakers: Sequence[str | None]) -> tuple[list[str | None], list[list[str]]]:
    """Speakers with one spelling of each, and the groups of spellings that were joined.

    Two spellings of one person in two splits would test on a speaker that was trained on.
    """
    groups = twins(sorted({speaker for speaker in speakers if speaker}))
    one = {name: group[0] for group in groups for name in group}
    return [one.get(speaker, speaker) for speaker in speakers], groups


def look_alike(labels: Iterable[str]) -> list[str]:
    """One line that names labels that `twins` groups; none if there are none."""
    alike = [" and ".join(map(repr, names)) for names in twins(labels)]
    return [f"labels that differ only by case or blanks count as different words: {first_few(alike)}; give them one "
            "name if they are one"] if alike else []


def visible(text: str) -> str:
    """``text`` on one line, what cannot be seen as an escape sequence."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
