"""Which recordings count: each once, and to test with, none that is enrolled, lest figures come out too good.

Links, other names and other lossless formats are told by the sound itself. Clips that seem to be one recording twice,
as copies by MP3 or at another level, which no digest of samples tells, are named.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from data.audio.decoding import decode, open_audio
from data.base.errors import UserError
from data.base.find import find_words
from data.base.labels import look_alike
from data.folder.word_stretch import Recording, examine
from data.manifests.manifest import read_manifest
from spotting.encoders.load import Embedder
from spotting.sound.blocks import open_file
from spotting.words.words_file import Clip, Word, Words

# Of 499 pairs of recordings of a word the highest correlation was 0.63; of 210 copies (other codecs, rates, levels,
# beginnings) the lowest was 0.97. Copies by telephone are not found.
_SIMILAR = 0.8  # of embeddings, from which on sounds are compared
_SAME = 0.95  # correlation
Positive = tuple[str, str, float, float | None]  # word, file, where it begins and ends in it; None is the file's end
_BESIDE = 0.5  # seconds on both sides of a stretch that are heard with it


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


def find_positives(path: Path) -> list[Positive]:
    """Of a folder of a folder a word, or a manifest. Raises UserError: nothing is there."""
    if path.is_dir():
        return [(word, file, 0.0, None) for word, file in find_words(path).files]
    manifest = read_manifest(path)
    return [(u.label, u.path, u.offset, u.offset + u.duration) for u in map(manifest.__getitem__, range(len(manifest)))]


def heard_with(entry: Positive) -> tuple[str, float, float | None]:
    """The file and the stretch of it in which a recording's word is searched for: half a second more on both sides."""
    _, path, start, end = entry
    return path, max(0.0, start - _BESIDE), None if end is None else end + _BESIDE


def leave_out_enrolled(positives: list[Positive], tested: Sequence[Words], clip_seconds: float,
                       say: Callable[[str], None], channel: int | None = None
                       ) -> tuple[list[Positive], list[Recording]]:
    """Recordings of the words tested that were not enrolled themselves, each once; and the stretches that were heard.
    Raises UserError: none of some word, or none at all."""
    words = [word for one in tested for word in one.words]
    names, clips = {word.name for word in words}, [clip for word in words for clip in word.clips]
    enrolled, files = {clip.sha1 for clip in clips}, {os.path.realpath(clip.file) for clip in clips}
    kept, stretches, seen, left_out = [], [], defaultdict(list), defaultdict(list)
    for entry in positives:
        word, path, _, end = entry
        if word not in names:
            left_out["of words that are not enrolled"].append(f"{_shown(entry)}: {word!r}")
            continue
        heard, real = examine([path], clip_seconds, channel)[0] if end is None else None, os.path.realpath(path)
        if isinstance(heard, str):
            left_out["that cannot be used"].append(heard)
            continue
        same = seen[word, heard.digest if heard else real]  # of one sound, or stretches of one file
        if real in files or (heard and heard.digest in enrolled):
            left_out["that are enrolled"].append(path)
        elif first := next((one for one in same if _is_again(entry, one)), None):
            left_out["that repeat another"].append(f"{_shown(entry)} ({_shown(first)})")
        else:
            kept.append(entry)
            same.append(entry)
            stretches += [heard] if heard else []
    for why, which in left_out.items():
        say(f"left out {len(which)} recordings {why}, such as {which[0]}")
    for line in look_alike({*names, *(label for label, *_ in positives)}):
        say(f"warning: {line}")
    if lacking := sorted(names - {label for label, *_ in kept}):
        raise UserError(f"--positives: no recording of {', '.join(map(repr, lacking))} that can be tested")
    return kept, stretches


def _is_again(entry: Positive, other: Positive) -> bool:
    """Whether two labels of one word in one place are about one saying of it: they share most of the shorter one."""
    (start, end), (first, last) = entry[2:], other[2:]
    if end is None or last is None:
        return True
    return min(end, last) - max(start, first) > min(end - start, last - first) / 2


def _shown(entry: Positive) -> str:
    return entry[1] + (f" at {entry[2]:g} s" if entry[3] is not None else "")


def copied(stretches: Sequence[Recording], tested: Sequence[Words], embedder: Embedder, channel: int | None = None
           ) -> list[str]:
    """A line on recordings that seem to be copies of enrolled ones, if there are any."""
    clips = [Clip(s.path, s.offset, s.duration, s.digest, *3 * [embedder(embedder.facts.clip_of(
        decode(s.path, s.offset, s.duration, channel=channel))[np.newaxis])], channel) for s in stretches]
    enrolled = list({clip.sha1: clip for words in tested for word in words.words for clip in word.clips}.values())
    found = [(clips[i].file, enrolled[j].file) for i, j in same_sound(clips, enrolled)]
    return [f"{len(found)} of the recordings of words seem to be copies of enrolled ones, such as {found[0][0]} of "
            f"{found[0][1]}: misses look rarer than they are"] if found else []
