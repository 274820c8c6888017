"""Recordings that are there more than once: by links, copies under other names, or in other lossless formats."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from data.audio.decoding import open_audio
from data.base.errors import UserError
from spotting.sound.blocks import open_file


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
    """Of each file the position of the first with the same sound."""
    position: dict[str, int] = {}
    by_place = [position.setdefault(os.path.realpath(path), i) for i, path in enumerate(files)]
    unsure: list[list[int]] = [sorted(set(by_place))]
    for key in (_length, _digest):  # few recordings are of one length: most are not read for this
        groups = defaultdict(list)
        for g, group in enumerate(unsure):
            for i in group:
                groups[g, key(files[i])].append(i)
        unsure = [group for (_, value), group in groups.items() if value is not None and len(group) > 1]
    same = {i: group[0] for group in unsure for i in group}
    return [same.get(i, i) for i in by_place]


def _length(path: str) -> float | None:
    """Seconds; None for what cannot be read, which is told when it is searched."""
    try:
        with open_audio(path) as file:
            return file.frames / file.samplerate
    except UserError:
        return None


def _digest(path: str) -> str | None:
    """Of the samples at 16 kHz; None for what cannot be read."""
    digest = hashlib.sha1()
    try:
        for block in open_file(path, lambda _: None).blocks:
            digest.update(block.tobytes())
    except UserError:
        return None
    return digest.hexdigest()
