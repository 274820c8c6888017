"""Which words of a corpus become classes, which of their clips are kept and with how much around them, and the split of
every speaker."""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from data.base.errors import UserError
from data.base.labels import folded
from data.libriwords.wordscan import as_word, seconds_of
from data.manifests.manifest import Utterance
from data.manifests.registry import SPLITS
from data.sources.splits import balanced_split

_SPLIT_WORDS = 10_000  # the most frequent ones decide the split, whatever --sizes, so that all sizes share it


@dataclass
class Words:
    """One size: per class, the table that words.tsv holds, and the clips of the classes kept.

    Attributes:
        rows: word, times aligned, too short, usable, train, dev, test, "kept" or why it was dropped; by frequency.
        clips: for each split, indices into the scan's columns, ordered by word, utterance and time.
    """

    rows: list[tuple]
    clips: dict[str, np.ndarray]


def select(clips, split: np.ndarray, size: int, min_seconds: float = 0.0, min_count: int = len(SPLITS),
           max_per_word: int | None = None, needed: Collection[str] = SPLITS, min_speakers: int = 1,
           new: Collection[str] = ()) -> Words:
    """The clips of the ``size`` most frequent words, equally frequent ones alphabetically.

    A word with fewer than ``min_count`` clips of ``min_seconds`` or more, by fewer than ``min_speakers``, or with none
    in a ``needed`` split, is dropped; no rarer one takes its place. The cap keeps the proportions of the splits, and at
    least one clip in each. Which clips stay is random but the same every time. ``split`` is (U,) index into SPLITS, of
    each utterance; words that are to stay ``new`` are dropped, whatever else they are.
    """
    vocabulary = len(clips.words)
    aligned = np.bincount(clips.word, minlength=vocabulary)
    fits = clips.end - clips.start >= min_seconds - 1e-9
    part = split[clips.file]
    usable = np.bincount(clips.word[fits] * len(SPLITS) + part[fits], minlength=vocabulary * len(SPLITS))
    usable = usable.reshape(vocabulary, len(SPLITS))
    quota = usable if max_per_word is None else _quota(usable, max_per_word)
    names, speaker = np.unique(clips.speakers.astype(str), return_inverse=True)
    pairs = np.unique(clips.word[fits].astype(np.int64) * len(names) + speaker[clips.file[fits]])
    speakers = np.bincount(pairs // len(names), minlength=vocabulary)  # who said each word in a clip that fits
    rows, keep = [], np.zeros(vocabulary, bool)
    ranked = np.lexsort((np.arange(vocabulary), -aligned))  # words are sorted
    for w in ranked[aligned[ranked] > 0][:size]:  # the rest were left out before, or said by those who were
        total = usable[w].sum()
        lacking = [name for name, n in zip(SPLITS, usable[w], strict=True) if not n and name in needed]
        why = ("held out as new" if clips.words[w] in new else
               f"fewer than {min_count} clips" if total < min_count else
               f"fewer than {min_speakers} speakers" if speakers[w] < min_speakers else
               f"none in {' and '.join(lacking)}" if lacking else "kept")
        keep[w] = why == "kept"
        rows.append((clips.words[w], aligned[w], aligned[w] - total, total, *quota[w], why))
    chosen = np.flatnonzero(keep[clips.word] & fits)
    chosen = chosen[np.argsort(clips.word[chosen], kind="stable")]  # the scan is in order of utterance and time
    if max_per_word is not None:
        chosen = chosen[_capped(clips.word[chosen] * len(SPLITS) + part[chosen], quota.ravel())]
    return Words(rows, {name: chosen[part[chosen] == s] for s, name in enumerate(SPLITS)})


def _quota(usable: np.ndarray, cap: int) -> np.ndarray:
    """(V, 3) clips to keep of each word, their sum at most ``cap``, 3 or more; at least one where a split has any."""
    total = usable.sum(1, keepdims=True)
    quota = np.maximum(usable * cap // np.maximum(total, 1), usable > 0)
    quota[:, 0] = cap - quota[:, 1:].sum(1)  # what rounding left
    none = np.flatnonzero((quota[:, 0] < 1) & (usable[:, 0] > 0))  # said nearly only by others
    quota[none, 1 + quota[none, 1:].argmax(1)] -= 1
    quota[none, 0] = 1
    return np.where(total > cap, np.minimum(quota, usable), usable)


def _capped(group: np.ndarray, quota: np.ndarray) -> np.ndarray:
    """Indices, ascending, of a random choice of ``quota[g]`` members of each group g."""
    order = np.lexsort((np.random.default_rng(0).random(len(group)), group))
    ordered = group[order]
    place = np.arange(len(group)) - np.searchsorted(ordered, ordered)  # within its group
    return np.sort(order[place < quota[ordered]])


def split_speakers(clips, min_seconds: float) -> np.ndarray:
    """The split of each utterance, (U,) index into SPLITS; see `data.sources.splits.balanced_split`."""
    speaks = clips.speakers[np.unique(clips.file)].astype(str)  # one with no word must not be all of dev
    names = np.unique(speaks)
    if len(names) < len(SPLITS):
        raise UserError(f"{len(names)} speaker{'s' * (len(names) > 1)} with audio and TextGrids: too few for train, "
                        "dev and test; give a larger part of the corpus")
    speaker = np.minimum(np.searchsorted(names, clips.speakers.astype(str)), len(names) - 1)
    total = np.bincount(clips.word, minlength=len(clips.words))
    column = np.full(len(clips.words), -1)
    top = np.lexsort((np.arange(len(total)), -total))[:_SPLIT_WORDS]
    column[top] = np.arange(len(top))
    use = (column[clips.word] >= 0) & (clips.end - clips.start >= min_seconds - 1e-9)
    cell = speaker[clips.file[use]] * len(top) + column[clips.word[use]]
    counts = np.bincount(cell, minlength=len(names) * len(top)).reshape(len(names), len(top))
    return balanced_split(names.tolist(), counts)[speaker]


def without(clips, words: Iterable[str], speakers: Iterable[str]):
    """The scan without the clips of some words and of some speakers, nor files that have no others. Raises UserError
    for an unknown speaker."""
    words = set(map(as_word, words))
    there, out = set(map(folded, clips.speakers)), {folded(speaker): speaker for speaker in speakers}
    if unknown := sorted(speaker for name, speaker in out.items() if name not in there):
        raise UserError(f"--exclude_speakers {unknown[0]}: no such speaker in this corpus; leave it out, or check it")
    stays = np.array([word not in words for word in clips.words], bool)[clips.word]
    stays &= np.array([folded(speaker) not in out for speaker in clips.speakers], bool)[clips.file]
    kept, file = np.unique(clips.file[stays], return_inverse=True)
    return replace(clips, files=[clips.files[i] for i in kept], speakers=clips.speakers[kept],
                   file=file.astype(np.int32), word=clips.word[stays], start=clips.start[stays], end=clips.end[stays])


def held_out(words: Iterable[str], percent: float) -> set[str]:
    """The words to keep new, about so many in a hundred, by a hash of the word alone: the same in every corpus."""
    return {word for word in words
            if int(hashlib.sha1(f"new {word}".encode()).hexdigest(), 16) % 10_000 < 100 * percent}


def with_context(utterances: Iterable[Utterance], seconds: float, share: float = 1.0) -> Iterator[Utterance]:
    """Utterances of ``seconds`` around the word's middle, as far as the recording has them; the rest as they are.

    A word that is longer stays whole. At a recording's ends a stretch is shorter, not moved inside: the first
    two words of a recording would then be the same clip. Which clips are the ``share`` is random but the same every
    time.
    """
    rng = np.random.default_rng(0)
    for u in utterances:
        if rng.random() >= share or u.duration >= seconds:
            yield u
            continue
        middle = u.offset + u.duration / 2
        start, end = max(0.0, middle - seconds / 2), min(middle + seconds / 2, seconds_of(u.path))
        yield replace(u, offset=start, duration=end - start)
