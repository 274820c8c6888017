"""Recordings of words to test with: which there are, and which must be left out lest figures come out too good."""

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from data.audio.decoding import decode
from data.base.errors import UserError
from data.base.find import find_words
from data.base.labels import look_alike
from data.folder.word_stretch import Recording, examine
from data.manifests.manifest import read_manifest
from spotting.encoders.load import Embedder
from spotting.words.copies import same_sound
from spotting.words.words_file import Clip, Words

Positive = tuple[str, str, float, float | None]  # word, file, where it begins and ends in it; None is the file's end
_BESIDE = 0.5  # seconds on both sides of a stretch that are heard with it


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
    clips = [Clip(s.path, s.offset, s.duration, s.digest, embedder(embedder.facts.clip_of(
        decode(s.path, s.offset, s.duration, channel=channel))[np.newaxis]), channel) for s in stretches]
    enrolled = list({clip.sha1: clip for words in tested for word in words.words for clip in word.clips}.values())
    found = [(clips[i].file, enrolled[j].file) for i, j in same_sound(clips, enrolled)]
    return [f"{len(found)} of the recordings of words seem to be copies of enrolled ones, such as {found[0][0]} of "
            f"{found[0][1]}: misses look rarer than they are"] if found else []
