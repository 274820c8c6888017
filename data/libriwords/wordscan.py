"""Every aligned word of a corpus by columns: TextGrids matched to their utterances, read once, in resumable chunks.

A thousand TextGrids make one chunk, whose words go to a file of their own as soon as they are read. A later run,
or one that goes on after a kill, takes over the chunks whose TextGrids and audio are still the same.
"""

import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.base.cores import ordered_map
from data.base.errors import UserError
from data.base.files import check_regular, misshapen, open_regular, write_atomically
from data.base.labels import one_form, one_spelling
from data.base.npz import read_npz
from data.libriwords.pairs import SEVERAL, pair_up, speaker_of, speaker_pattern
from data.sources.find import AUDIO, find_files
from data.sources.textgrids import TextGridError, read_word_tier

CHUNK = 1_000  # TextGrids: 13 MB of text, a second or less of work
SLACK = 0.025  # seconds that an aligner's last frame may reach past the audio
_SHORTEST = 1e-3  # seconds of a word; a manifest and a clip cannot have less than a sample
_DIFFERS = 0.1  # seconds between the ends of a TextGrid and of its audio that are told
_FORMAT = 4  # of the chunk files and of what is read; part of their names
_WITHIN = "'\u2019\u200c\u200d"  # in words: apostrophes, and what keeps letters of some scripts apart or together
_COLUMNS = {"utterance": np.int32, "word": np.int32, "start": np.float64, "end": np.float64}  # of a chunk


@dataclass
class WordClips:
    """M aligned words in U utterances, ordered by utterance path and time.

    Attributes:
        files: paths of the U audio files, sorted.
        speakers: (U,) object array, the speaker of each.
        words: V distinct words, lower case, sorted.
        file: (M,) int32, index into ``files``.
        word: (M,) int32, index into ``words``.
        start, end: (M,) float64, seconds from the start of the file.
        problems: (kind, file, detail) of everything skipped, or read although odd.
        marks: how often a mark was met that is no word (such as ``<unk>``).
    """

    files: list[str]
    speakers: np.ndarray
    words: list[str]
    file: np.ndarray
    word: np.ndarray
    start: np.ndarray
    end: np.ndarray
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    marks: Counter = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.word)


class NothingToUse(UserError):
    """No word in a whole corpus; ``problems`` say why."""

    def __init__(self, message: str, problems: list[tuple[str, str, str]]):
        super().__init__(message)
        self.problems = sorted(problems)


def scan(librispeech: str | Path, alignments: str | Path, cache: str | Path, speaker_regex: str | None = None,
         tier: str | None = None) -> WordClips:
    """Read the ``words`` tier of every TextGrid that has an utterance.

    Args:
        librispeech: folder with the audio at any depth.
        alignments: folder with TextGrids of the same names, at any depth; of names that several files have, those of
            the same path belong together.
        cache: where the chunks are kept.
        speaker_regex: its first group, searched in a file's path within ``librispeech``, is the speaker; None for
            the names of LibriSpeech and LibriTTS.
        tier: the tier to read, see `data.sources.textgrids.read_word_tier`.

    Raises:
        UserError: a folder holds no such file, or ``cache`` cannot be written, or ``speaker_regex`` is none.
        NothingToUse: no TextGrid could be used.
    """
    regex = speaker_pattern(speaker_regex)
    audio, problems = find_files(librispeech, AUDIO)
    grids, more = find_files(alignments, (".textgrid",))
    problems += more
    if not audio:
        raise NothingToUse(f"--librispeech {librispeech}: no audio file ({', '.join(AUDIO)}) in it{_most(problems)}",
                           problems)
    if not grids:
        raise NothingToUse(f"--alignments {alignments}: no .TextGrid file in it{_most(problems)}", problems)
    more, pairs = pair_up(audio, grids, (Path(librispeech), Path(alignments)), regex, speaker_regex)
    problems += more
    if not pairs:
        if named := [path for kind, path, _ in more if kind.startswith("name ")]:
            raise NothingToUse(f"--librispeech {librispeech}: no file's name tells its speaker, for instance not "
                               f"{os.path.basename(named[0])}, " + (
                                   "as speaker-chapter-number does; give a --speaker_regex, such as '^([a-z]+)[0-9]'"
                                   if speaker_regex is None else f"by --speaker_regex {speaker_regex!r}"), problems)
        raise NothingToUse(f"--alignments {alignments}: none of its {len(grids):,} TextGrids is named like one of the "
                           f"{len(audio):,} audio files in {librispeech}"
                           + " and lies at its path, as it must where several have the name"
                           * any(detail == SEVERAL for *_, detail in more) + "; give alignments of the same utterances",
                           problems)
    cache = Path(cache)
    chunks = [pairs[i:i + CHUNK] for i in range(0, len(pairs), CHUNK)]
    tasks = [(chunk, cache / f"{_key(chunk, tier)}.npz", tier) for chunk in chunks]
    todo = [task for task in tasks if _load(task) is None]
    if done := len(tasks) - len(todo):
        print(f"going on from an earlier scan: {done} of {len(tasks)} chunks of {CHUNK:,} TextGrids are done")
    with tqdm(total=len(pairs), desc="reading TextGrids", unit=" files", disable=None, leave=False,
              initial=len(pairs) - sum(len(task[0]) for task in todo)) as progress:
        for count in ordered_map(_read_chunk, todo):
            progress.update(count)
    kept = {path.name for _, path, _ in tasks}
    for old in cache.glob("*.npz"):  # of files that have changed since, and of older versions
        if old.name not in kept:
            with suppress(OSError):
                old.unlink()
    clips = _merge(tasks, problems, lambda path: speaker_of(path, librispeech, regex))
    speakers, groups = one_spelling(clips.speakers.tolist())
    clips.speakers = np.asarray(speakers, object)
    if groups:
        print(f"joined {len(groups):,} speakers whose names look the same: "
              + "; ".join(" and ".join(group) for group in groups[:5]) + "; ..." * (len(groups) > 5))
    if not len(clips):
        raise NothingToUse(f"--alignments {alignments}: no word in any of its {len(pairs):,} TextGrids that have audio"
                           f"{_most(clips.problems)}", clips.problems)
    return clips


def _most(problems: list[tuple[str, str, str]]) -> str:
    """The most frequent kind of problem, with an example, as the end of a message."""
    if not problems:
        return ""
    kind = Counter(kind for kind, *_ in problems).most_common(1)[0][0]
    path, detail = next((path, detail) for k, path, detail in sorted(problems) if k == kind)
    return f"; most often: {kind}, such as {path}" + (f" ({detail})" if detail and detail != kind else "")


def _key(pairs: list[tuple], tier: str | None) -> str:
    return hashlib.sha256(repr((_FORMAT, tier, pairs)).encode()).hexdigest()[:20]


def _read_chunk(task: tuple[list[tuple], Path, str | None]) -> int:
    """Read one chunk's TextGrids and write its words; the file appears only when it is whole."""
    pairs, path, wanted = task
    known: dict[str, int] = {}  # mark -> index into words, or -1
    words: list[str] = []
    marks: Counter = Counter()
    problems, file, word, start, end = [], [], [], [], []
    for number, (grid, _, audio, _) in enumerate(pairs):
        try:
            tier = read_word_tier(grid, wanted)
            length = _seconds(audio)
            last = max(tier.end, default=0.0)
            if last > length + SLACK:
                raise TextGridError("past the audio's end", f"an interval ends at {last:g} s of {length:g} s")
        except TextGridError as error:
            problems.append((error.kind, grid, str(error)))
            continue
        if tier.odd:
            problems.append(("odd, but read", grid, tier.odd))
        if abs(tier.xmax - length) > _DIFFERS:  # is it of another recording?
            problems.append(("odd: ends elsewhere than its audio, but read", grid,
                             f"at {tier.xmax:g} s of {length:g} s"))
        for mark, a, b in tier.words():
            if mark not in known:
                known[mark] = len(words) if _is_word(mark) else -1
                if known[mark] >= 0:
                    words.append(as_word(mark))
            if known[mark] < 0:
                marks[mark] += 1
            elif min(b, length) - a < _SHORTEST:  # also one that begins past the audio's end, by what SLACK allows
                problems.append(("word of no length", grid, f"{mark!r} at {a:g} s"))
            else:
                file.append(number)
                word.append(known[mark])
                start.append(a)
                end.append(min(b, length))
    with write_atomically(path, "wb") as out:
        np.savez(out, utterance=np.asarray(file, np.int32), word=np.asarray(word, np.int32),
                 start=np.asarray(start, float), end=np.asarray(end, float),
                 rest=json.dumps({"words": words, "marks": marks, "problems": problems}))
    return len(pairs)


def as_word(mark: str) -> str:
    """A mark, or a word that somebody typed, as the word it is: lower case, one Unicode form, a plain apostrophe."""
    return one_form(mark.replace("\u2019", "'").lower())


def _is_word(mark: str) -> bool:
    """Whether a mark is letters, with what stands above, below or between them in many scripts, and apostrophes."""
    letters = "".join(c for c in one_form(mark) if c not in _WITHIN and unicodedata.category(c) not in ("Mn", "Mc"))
    return letters.isalpha()


def _seconds(audio: str) -> float:
    import soundfile

    try:
        check_regular(audio)
        info = soundfile.info(audio)
    except (soundfile.SoundFileError, OSError) as error:
        raise TextGridError("audio unreadable", f"{audio}: {error}") from None
    if not info.frames or not info.samplerate:
        raise TextGridError("audio unreadable", f"{audio}: has no audio in it")
    return info.frames / info.samplerate


def _load(task: tuple[list[tuple], Path, str | None]) -> tuple[dict[str, np.ndarray], dict] | None:
    """A chunk's columns and the rest of it; None where it is not there, damaged or of another shape."""
    pairs, path, _ = task
    try:
        with open_regular(path) as file:
            chunk = read_npz(file)
        rest = json.loads(str(chunk["rest"]))
        columns = {name: chunk[name] for name in _COLUMNS}
        whole = misshapen(rest, {"words": [str], "marks": {str: int}, "problems": [[str]]}) is None and all(
            column.shape == columns["word"].shape and column.ndim == 1 and column.dtype == _COLUMNS[name]
            for name, column in columns.items()) and all(len(problem) == 3 for problem in rest["problems"])
        for name, size in (("utterance", len(pairs)), ("word", len(rest["words"]))):
            whole &= not len(columns[name]) or 0 <= columns[name].min() <= columns[name].max() < size
        return (columns, rest) if whole else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # the last, of JSON too deep
        return None


def _merge(tasks: Iterable[tuple[list[tuple], Path, str | None]], problems: list[tuple],
           speaker: Callable[[str], str | None]) -> WordClips:
    files, speakers, marks = [], [], Counter()
    word_of: dict[str, int] = {}
    columns: dict[str, list[np.ndarray]] = {name: [] for name in _COLUMNS}
    for task in tasks:
        pairs, path, _ = task
        if (loaded := _load(task)) is None:
            raise UserError(f"{path}: changed while it was read; run again, and no two runs with one --out at once")
        new, rest = loaded
        index = np.asarray([word_of.setdefault(word, len(word_of)) for word in rest["words"]], np.int32)
        new["utterance"] += len(files)
        new["word"] = index[new["word"]] if len(index) else new["word"]
        for name, parts in columns.items():
            parts.append(new[name])
        files += [pair[2] for pair in pairs]
        speakers += [speaker(pair[2]) for pair in pairs]
        problems += [tuple(problem) for problem in rest["problems"]]
        marks.update(rest["marks"])
    words = sorted(word_of)
    rank = np.empty(len(words), np.int32)
    rank[[word_of[word] for word in words]] = np.arange(len(words), dtype=np.int32)
    file, word, start, end = (np.concatenate(parts) for parts in columns.values())
    return WordClips(files, np.asarray(speakers, object), words, file, rank[word] if len(words) else word, start, end,
                     sorted(problems), marks)
