"""Recordings that are there more than once: by links, copies under other names, or in other lossless formats."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from data.audio.decoding import open_audio
from data.base.errors import UserError
from spotting.sound.blocks import open_file


def without_repeats(files: Sequence[str], flag: str, say: Callable[[str], None], spoken: Iterable[str] = (),
                    what: str = "") -> list[str]:
    """Each recording once, so that no hour counts twice, and none that is among ``spoken``, recordings of the words,
    which are ``what``; what is left out is told. Raises UserError where none is left."""
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
    position, lengths, same = {}, defaultdict(list), {}
    by_place = [position.setdefault(os.path.realpath(path), i) for i, path in enumerate(files)]
    for i in sorted(set(by_place)):
        with suppress(UserError), open_audio(files[i]) as file:  # what cannot be read is told when it is searched
            lengths[file.frames / file.samplerate].append(i)
    for group in lengths.values():
        firsts = {}
        for i in group if len(group) > 1 else ():  # few recordings are of one length: most are not read for this
            digest = hashlib.sha1()
            with suppress(UserError):
                for block in open_file(files[i], lambda _: None).blocks:
                    digest.update(block.tobytes())
                same[i] = firsts.setdefault(digest.digest(), i)
    return [same.get(i, i) for i in by_place]
