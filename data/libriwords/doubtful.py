"""Doubtful alignments: what does not sound like its word, lies elsewhere by a second alignment, or is of an odd length.

Every recording is aligned once more with the words of its own TextGrid, whoever made that, by `data.align`'s acoustic
model. In each frame it scores all sounds, so that the mean over a word says how well its own sounds fit beside any
others: a word that was not said stands out, whatever its boundaries. Filtering alignments by such a confidence is what
Jung et al. (2022) found their word embeddings to need.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.base.cores import ordered_map
from data.base.errors import UserError
from data.base.files import file_state, open_regular, write_atomically
from data.base.npz import read_npz
from data.libriwords.wordscan import WordClips

UNLIKE, ELSEWHERE, LENGTH, NONE = REASONS = (
    "does not sound like its word", "lies elsewhere by a second alignment", "is of an odd length",
    "is of a recording that no second alignment was found for")
LIMITS = {UNLIKE: 5.0, ELSEWHERE: 0.15, LENGTH: 5.0}  # in robust deviations, but for the seconds of the second
_FORMAT = 1  # of the chunk files and of how words are measured
_CHUNK = 25  # recordings: a quarter of a minute of work
_COLUMNS = ("score", "moved", "phones", "guessed")
_WORST = 3  # named on the terminal
_LEAST = 30  # words of a speaker or of a length that have a median of their own
_MOST_PHONES = 8  # words of as many and more are of one kind
_NOT_FOUND = -np.inf  # score of the words of a recording that no alignment was found for; NaN where none was tried


def doubts(clips: WordClips, cache: Path) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """How doubtful each word is, 1 and more being too much, and by which of `REASONS`.

    A score is held against the median of the speaker's and then of the words of as many phones, in robust deviations
    (1.4826 times the median absolute one); so is the logarithm of a phone's duration.

    Args:
        clips: the scan, with all words of its recordings.
        cache: a folder for what is measured, so that a second run goes on.

    Returns:
        (M,) float64; (M,) int64, indices into `REASONS`; and what was measured, by name.
    """
    found = _measure(clips, cache)
    speaker = np.unique(clips.speakers.astype(str), return_inverse=True)[1][clips.file]
    phones = np.clip(found["phones"], 2, _MOST_PHONES).astype(np.int64)
    unlike = -_deviations(_less_median(found["score"], speaker), phones)
    length = np.abs(_deviations(_less_median(np.log((clips.end - clips.start) / found["phones"]), speaker), phones))
    each = np.stack([unlike / LIMITS[UNLIKE], found["moved"] / LIMITS[ELSEWHERE], length / LIMITS[LENGTH],
                     np.where(found["score"] == _NOT_FOUND, 1.0, 0.0)])  # (4, M)
    each = np.nan_to_num(each, nan=0.0, posinf=0.0, neginf=0.0)
    return each.max(0), each.argmax(0), found | {"unlike": unlike, "length": length}


def without_doubtful(clips: WordClips, cache: Path, share: float | None) -> tuple[np.ndarray, list[tuple], str]:
    """Which words to keep: all that are not doubtful, or all but the most doubtful ``share`` per cent.

    Returns:
        (M,) bool; (kind, file, detail) of each word that is left out, the worst first; and lines on what that is.
    """
    doubt, reason, found = doubts(clips, cache)
    if share is None:
        out = doubt >= 1
    else:
        out = np.zeros(len(clips), bool)
        out[np.argsort(-doubt, kind="stable")[:round(share / 100 * len(clips))]] = True
    worst = np.flatnonzero(out)
    worst = worst[np.argsort(-doubt[worst], kind="stable")]
    problems = [(f"doubtful: {REASONS[reason[i]]}", clips.files[clips.file[i]], _detail(clips, i, found))
                for i in worst]
    counts = Counter(REASONS[reason[i]] for i in worst)
    said = (f"doubtful alignments: {len(worst):,} of {len(clips):,} words ({len(worst) / max(len(clips), 1):.1%}) left "
            "out" + "".join(f"; {count:,} {_plural(kind)}" for kind, count in counts.most_common()))
    if len(worst):
        names = Counter(clips.words[clips.word[i]] for i in worst).most_common(5)
        said += ("\n  most often " + ", ".join(f"{word!r} ({count:,})" for word, count in names) + "; the worst "
                 + "; ".join(f"{os.path.basename(path)}: {detail}" for _, path, detail in problems[:_WORST]))
    tried = np.isfinite(found["score"]) | (found["score"] == _NOT_FOUND)
    if not tried.all():
        said += (f"\n  {(~tried).sum():,} words are in recordings that cannot be aligned again (a word that English "
                 "letters do not spell, or audio that cannot be read): judged by their lengths alone")
    return ~out, problems, said


def thinned(clips: WordClips, keep: np.ndarray) -> WordClips:
    """The scan with the words ``keep`` (M,) only, its files as they were."""
    return replace(clips, file=clips.file[keep], word=clips.word[keep], start=clips.start[keep], end=clips.end[keep])


def _plural(kind: str) -> str:
    return kind.replace("does not sound like its word", "do not sound like their word").replace("lies", "lie").replace(
        "is of", "are of")


def _detail(clips: WordClips, i: int, found: dict[str, np.ndarray]) -> str:
    parts = [f"{clips.words[clips.word[i]]!r} at {clips.start[i]:.2f}-{clips.end[i]:.2f} s"]
    if np.isfinite(found["score"][i]):
        parts.append(f"{found['unlike'][i]:.1f} deviations less like it than usual")
        parts.append(f"{1000 * found['moved'][i]:.0f} ms off")
    parts.append(f"length {found['length'][i]:.1f} deviations from usual")
    if found["guessed"][i]:
        parts.append("pronounced by rule")
    return ", ".join(parts)


def _less_median(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    return values - _by_group(values, group, np.median)


def _deviations(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Robust deviations from the median of each group."""
    away = _less_median(values, group)
    scale = 1.4826 * _by_group(np.abs(away), group, np.median)
    return away / np.maximum(scale, 1e-6)


def _by_group(values: np.ndarray, group: np.ndarray, statistic) -> np.ndarray:
    """(M,) a statistic of the finite values of each one's group; of all where the group has but a few."""
    usable = np.isfinite(values)
    whole = statistic(values[usable]) if usable.any() else 0.0
    result = np.full(len(values), whole)
    for number in np.unique(group):
        own = group == number
        if (own & usable).sum() >= _LEAST:
            result[own] = statistic(values[own & usable])
    return result


def _measure(clips: WordClips, cache: Path) -> dict[str, np.ndarray]:
    """(M,) columns: score of the second alignment, how far it moves a boundary at most, phones, guessed."""
    first = np.searchsorted(clips.file, np.arange(len(clips.files) + 1))
    tasks, rows = [], []
    spoken = np.flatnonzero(np.diff(first))
    for begin in range(0, len(spoken), _CHUNK):
        files = spoken[begin:begin + _CHUNK]
        utterances = [(clips.files[f], _state(clips.files[f])[:2], [clips.words[w] for w in clips.word[own]],
                       clips.start[own].tolist(), clips.end[own].tolist())
                      for f in files for own in [slice(first[f], first[f + 1])]]
        key = hashlib.sha256(repr((_FORMAT, utterances)).encode(errors="surrogateescape")).hexdigest()[:20]
        tasks.append((utterances, cache / f"{key}.npz"))
        rows.append(slice(first[files[0]], first[files[-1] + 1]))
    todo = [task for task in tasks if _load(task) is None]
    if done := len(tasks) - len(todo):
        print(f"going on from an earlier second alignment: {done} of {len(tasks)} parts of {_CHUNK} recordings are "
              "done")
    with tqdm(total=sum(len(task[0]) for task in todo), desc="aligning again", unit=" recordings", disable=None,
              leave=False) as progress:
        for count in ordered_map(_align_chunk, todo):
            progress.update(count)
    kept = {path.name for _, path in tasks}
    for old in cache.glob("*.npz"):  # of recordings that have changed since
        if old.name not in kept:
            with suppress(OSError):
                old.unlink()
    columns = {name: np.empty(len(clips)) for name in _COLUMNS}
    for task, part in zip(tasks, rows, strict=True):
        if (loaded := _load(task)) is None:
            raise UserError(f"{task[1]}: changed while it was read; run again, and no two runs with one --out at once")
        for name, column in columns.items():
            column[part] = loaded[name]
    return columns


def _state(path: str) -> tuple[int, ...]:
    try:
        return file_state(path)
    except OSError:
        return 0, 0, 0, 0  # gone since the scan: what reads it says so


def _align_chunk(task: tuple[Sequence[tuple], Path]) -> int:
    """Align some recordings again and write what was measured; the file appears only when it is whole."""
    from data.align.aligner import AlignmentError, align_scored
    from data.decoding import decode

    utterances, path = task
    columns: dict[str, list[float]] = {name: [] for name in _COLUMNS}
    states = _states(utterances)
    for audio, _, words, starts, ends in utterances:
        letters = [max(1, sum(map(str.isalpha, word))) for word in words]  # near enough, where there are no phones
        try:
            found = align_scored(decode(audio), words)
        except (AlignmentError, UserError) as error:
            lost = _NOT_FOUND if error.args[0] == "no alignment found" else np.nan
            columns["score"] += [lost] * len(words)
            columns["moved"] += [np.nan] * len(words)
            columns["phones"] += letters
            columns["guessed"] += [0.0] * len(words)
            continue
        columns["score"] += [a.score for a in found]
        columns["moved"] += [max(abs(a.start - start), abs(a.end - end))
                             for a, start, end in zip(found, starts, ends, strict=True)]
        columns["phones"] += [a.phones for a in found]
        columns["guessed"] += [float(a.guessed) for a in found]
    with write_atomically(path, "wb") as out:
        np.savez(out, states=states, **{name: np.asarray(values, float) for name, values in columns.items()})
    return len(utterances)


def _states(utterances: Sequence[tuple]) -> np.ndarray:
    """(U, 4) int64, the `file_state` of each recording. The key has the half of it that chunks were first known by."""
    return np.array([_state(audio) for audio, *_ in utterances], np.int64)


def _load(task: tuple[Sequence[tuple], Path]) -> dict[str, np.ndarray] | None:
    """A chunk's columns; None where they are not there, damaged or of another shape."""
    utterances, path = task
    count = sum(len(words) for _, _, words, *_ in utterances)
    try:
        with open_regular(path) as file:
            chunk = read_npz(file)
        columns = {name: chunk[name] for name in _COLUMNS}
        now = _states(utterances)
        if not np.array_equal(chunk.get("states", now), now):  # older chunks have none
            return None
        return columns if all(column.shape == (count,) and column.dtype == np.float64
                              for column in columns.values()) else None
    except (OSError, ValueError, KeyError):
        return None
