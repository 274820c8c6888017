"""Recordings that are there more than once: by links, under other names, in other lossless formats; and clips that seem
to be one recording twice, as copies by MP3 or at another level, which no digest of samples tells."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache

import numpy as np

from data.audio.decoding import decode, open_audio
from data.base.errors import UserError
from spotting.sound.blocks import open_file
from spotting.words.words_file import Clip, Word

# Of 499 pairs of recordings of a word the highest correlation was 0.63; of 210 copies (other codecs, rates, levels,
# beginnings) the lowest was 0.97. Copies by telephone are not found.
_SIMILAR = 0.8  # of embeddings, from which on sounds are compared
_SAME = 0.95  # correlation


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


def copies(words: Sequence[Word]) -> list[str]:
    """A line for each clip that seems to be a copy of one before it, under the same word or another."""
    named = [(clip, f"{clip.file} ({word.name})") for word in words for clip in word.clips]
    return [f"warning: {named[i][1]} seems to be a copy of {named[j][1]}, so clips look more alike than they are; "
            "remove one" for i, j in same_sound([clip for clip, _ in named])]


def same_sound(clips: Sequence[Clip], others: Sequence[Clip] | None = None) -> list[tuple[int, int]]:
    """Positions of clips, each with the first of ``others``, by default of those before it, that it is a copy of.

    Clips of as many windows are compared; those whose recordings are no longer there are none's.
    """
    @cache
    def sound(file: str, offset: float, seconds: float, channel: int | None) -> np.ndarray | None:
        try:
            samples = decode(file, offset, seconds, channel=channel).astype(np.float64)
        except UserError:  # it is no longer there, or another
            return None
        return samples - samples.mean()

    def alike(a: Clip, b: Clip) -> bool:
        return a.embedding.shape == b.embedding.shape and (a.embedding * b.embedding).sum(1).mean() >= _SIMILAR and \
            correlation(*(sound(one.file, one.offset, one.seconds, one.channel) for one in (a, b))) >= _SAME

    found = {}
    for i, clip in enumerate(clips):
        for j, other in enumerate(clips[:i] if others is None else others):
            if i not in found and alike(clip, other):
                found[i] = j
    return list(found.items())


def correlation(a: np.ndarray | None, b: np.ndarray | None) -> float:
    """The highest normalised correlation of two sounds, (T,) of any lengths, at any shift; 0 for a missing one."""
    if a is None or b is None:
        return 0.0
    size = len(a) + len(b)
    at_shifts = np.fft.irfft(np.fft.rfft(a, size) * np.fft.rfft(b, size).conj(), size)
    return float(np.abs(at_shifts).max() / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-9))
