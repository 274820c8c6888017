"""Recordings that are there more than once: by links, or copies under other names."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from data.base.errors import UserError
from data.base.files import file_digest


def without_repeats(files: Sequence[str], flag: str, say: Callable[[str], None], spoken: Iterable[str] = (),
                    what: str = "") -> list[str]:
    """Each recording once, so that no hour counts twice; what is left out is told.

    Args:
        spoken: recordings of the words, none of which may be among ``files``; ``what`` says what they are.

    Raises:
        UserError: none is left.
    """
    spoken = [path for path in dict.fromkeys(spoken) if os.path.isfile(path)]
    kept, of_words, repeats = [], [], []
    for i, first in enumerate(_firsts([*spoken, *files])[len(spoken):], len(spoken)):
        (kept if first == i else of_words if first < len(spoken) else repeats).append(files[i - len(spoken)])
    for left_out, why in ((of_words, what), (repeats, "repeat another")):
        if left_out:
            say(f"left out {len(left_out):,} of {flag} that {why}, such as {left_out[0]}")
    if not kept:
        raise UserError(f"{flag}: nothing is left; name recordings without the words")
    return kept


def _firsts(files: Sequence[str]) -> list[int]:
    """Of each file the position of the first with the same content."""
    places = [os.path.realpath(path) for path in files]
    sizes = Counter(map(os.path.getsize, dict.fromkeys(places)))
    position: dict[str, int] = {}
    return [position.setdefault(file_digest(place) if sizes[os.path.getsize(place)] > 1 else place, i)
            for i, place in enumerate(places)]
