"""Every aligned word of a corpus by columns: TextGrids matched to their utterances, read on all cores."""

import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.audio.decoding import open_audio
from data.base.cores import ordered_map
from data.base.errors import UserError
from data.base.find import AUDIO, Problem, walk
from data.base.labels import one_form, one_spelling
from data.base.messages import first_few
from data.libriwords.pairs import LIBRI_NAMES, SEVERAL, pair_up, speaker_of
from data.sources.textgrids import TextGridError, read_word_tier

CHUNK = 1_000  # TextGrids: 13 MB of text, a second or less of work
SLACK = 0.025  # seconds that an aligner's last frame may reach past the audio
_SHORTEST = 1e-3  # seconds of a word; a manifest and a clip cannot have less than a sample
_DIFFERS = 0.1  # seconds between the ends of a TextGrid and of its audio that are reported
_WITHIN = "'\u2019\u200c\u200d"  # in words: apostrophes, and what keeps letters of some scripts apart or together


@dataclass
class WordClips:
    """M aligned words in U utterances, ordered by utterance path and time."""

    files: list[str]  # of the U recordings, sorted
    speakers: np.ndarray  # (U,) object
    words: list[str]  # V distinct ones, lower case, sorted
    file: np.ndarray  # (M,) int32, index into files
    word: np.ndarray  # (M,) int32, index into words
    start: np.ndarray  # (M,) float64, seconds from the start of the file
    end: np.ndarray
    problems: list[Problem]  # of everything skipped, or read although odd
    marks: Counter  # how often a mark was met that is no word, such as <unk>

    def __len__(self) -> int:
        return len(self.word)


class NothingToUse(UserError):
    """No word in a whole corpus; ``problems`` say why."""

    def __init__(self, message: str, problems: list[tuple[str, str, str]]):
        super().__init__(message)
        self.problems = sorted(problems)


def scan(librispeech: str | Path, alignments: str | Path, speaker_regex: str | None = None,
         tier: str | None = None) -> WordClips:
    """Read the words of every TextGrid that has an utterance.

    Args:
        librispeech: folder with the audio at any depth.
        alignments: folder with TextGrids at any depth, see `data.libriwords.pairs`.
        speaker_regex: its first group, searched in a file's path within ``librispeech``, is the speaker; None for
            the names of LibriSpeech and LibriTTS.
        tier: the tier to read, see `data.sources.textgrids.read_word_tier`.

    Raises:
        NothingToUse: a folder holds no such file, or no TextGrid could be used.
    """
    regex = re.compile(speaker_regex or LIBRI_NAMES)
    (audio, problems), (grids, more) = walk(librispeech, AUDIO), walk(alignments, (".textgrid",))
    problems += more
    if not audio:
        raise NothingToUse(f"--librispeech {librispeech}: no audio file ({', '.join(AUDIO)}) in it{_most(problems)}",
                           problems)
    if not grids:
        raise NothingToUse(f"--alignments {alignments}: no .TextGrid file in it{_most(problems)}", problems)
    pairs = _pairs(audio, grids, (Path(librispeech), Path(alignments)), speaker_regex, problems)
    tasks, read = [(i, pairs[i:i + CHUNK], tier) for i in range(0, len(pairs), CHUNK)], []
    with tqdm(total=len(pairs), desc="reading TextGrids", unit=" files", disable=None, leave=False) as progress:
        for (_, part, _), found in zip(tasks, ordered_map(_read_chunk, tasks), strict=True):
            read.append(found)
            progress.update(len(part))
    speakers, groups = one_spelling([speaker_of(path, librispeech, regex) for _, path in pairs])
    if groups:
        print(f"joined {len(groups):,} speakers whose names look the same: "
              + first_few((" and ".join(group) for group in groups), between="; "))
    clips = _merge(read, [path for _, path in pairs], speakers, problems)
    if not len(clips):
        raise NothingToUse(f"--alignments {alignments}: no word in any of its {len(pairs):,} TextGrids that have audio"
                           f"{_most(clips.problems)}", clips.problems)
    return clips


def _pairs(audio: list[os.DirEntry], grids: list[os.DirEntry], folders: tuple[Path, Path],
           speaker_regex: str | None, problems: list[Problem]) -> list[tuple[str, str]]:
    """(TextGrid, audio) of what belongs together; what does not goes to ``problems``. Raises NothingToUse if none."""
    more, pairs = pair_up(audio, grids, folders, speaker_regex)
    problems += more
    if pairs:
        return pairs
    if unfit := [path for kind, path, _ in more if kind.startswith("name ")]:
        raise NothingToUse(f"--librispeech {folders[0]}: no file's name tells its speaker, for instance not "
                           f"{os.path.basename(unfit[0])}; give a --speaker_regex, such as '^([a-z]+)[0-9]'", problems)
    raise NothingToUse(f"--alignments {folders[1]}: none of its {len(grids):,} TextGrids is named like one of the "
                       f"{len(audio):,} audio files in {folders[0]}"
                       + " and lies at its path, as it must where several have the name"
                       * any(detail == SEVERAL for *_, detail in more) + "; give alignments of the same utterances",
                       problems)


def _most(problems: list[Problem]) -> str:
    """The most frequent kind of problem, with an example, as the end of a message."""
    if not problems:
        return ""
    kind = Counter(kind for kind, *_ in problems).most_common(1)[0][0]
    path, detail = next((path, detail) for k, path, detail in sorted(problems) if k == kind)
    return f"; most often: {kind}, such as {path}" + (f" ({detail})" if detail and detail != kind else "")


def _read_chunk(task: tuple[int, list[tuple[str, str]], str | None]
                ) -> tuple[list[str], tuple[np.ndarray, ...], list[Problem], Counter]:
    """Read some TextGrids; the task is the number of the first, (TextGrid, audio) pairs and the tier.

    Returns:
        words; columns, one row a saying: number of the TextGrid, word, start and end in seconds; problems; marks.
    """
    first, pairs, wanted = task
    words, rows, problems, marks = [], [], [], Counter()
    known: dict[str, int] = {}  # mark -> index into words, or -1
    for number, (grid, audio) in enumerate(pairs, first):
        try:
            tier, length = read_word_tier(grid, wanted), seconds_of(audio)
        except TextGridError as error:
            problems.append((error.kind, grid, str(error)))
            continue
        except UserError as error:
            problems.append(("audio unreadable", grid, str(error)))
            continue
        if (last := max((end for *_, end in tier.intervals), default=0.0)) > length + SLACK:
            problems.append(("past the audio's end", grid, f"an interval ends at {last:g} s of {length:g} s"))
            continue
        if tier.odd:
            problems.append(("odd, but read", grid, tier.odd))
        if abs(tier.xmax - length) > _DIFFERS:  # is it of another recording?
            problems.append(("odd: ends elsewhere than its audio, but read", grid,
                             f"at {tier.xmax:g} s of {length:g} s"))
        for mark, start, end in tier.words():
            if mark not in known:
                known[mark] = len(words) if _is_word(mark) else -1
                if known[mark] >= 0:
                    words.append(as_word(mark))
            end = min(end, length)
            if known[mark] < 0:
                marks[mark] += 1
            elif end - start < _SHORTEST:  # also one that begins past the audio's end, by what SLACK allows
                problems.append(("word of no length", grid, f"{mark!r} at {start:g} s"))
            else:
                rows.append((number, known[mark], start, end))
    number, word, start, end = np.array(rows, float).reshape(-1, 4).T
    return words, (number.astype(np.int32), word.astype(np.int32), start, end), problems, marks


def as_word(mark: str) -> str:
    """A mark, or a word that somebody typed, as the word it is: lower case, one Unicode form, a plain apostrophe."""
    return one_form(mark.replace("\u2019", "'").lower())


def _is_word(mark: str) -> bool:
    """Whether a mark is letters, with what stands above, below or between them in many scripts, and apostrophes."""
    letters = "".join(c for c in one_form(mark) if c not in _WITHIN and unicodedata.category(c) not in ("Mn", "Mc"))
    return letters.isalpha()


@lru_cache(1000)  # the clips of a word are often of other files, but never of all
def seconds_of(audio: str) -> float:
    """The length of a recording. Raises UserError where it cannot be read."""
    with open_audio(audio) as file:
        return file.frames / file.samplerate


def _merge(chunks: list[tuple], files: list[str], speakers: list[str | None], problems: list[Problem]) -> WordClips:
    """What `_read_chunk` found, as one."""
    word_of: dict[str, int] = {}
    marks, columns = Counter(), []
    for its_words, (file, word, start, end), more, unsaid in chunks:
        index = np.array([word_of.setdefault(one, len(word_of)) for one in its_words], np.int32)
        columns.append((file, index[word], start, end))
        problems += more
        marks.update(unsaid)
    file, word, start, end = map(np.concatenate, zip(*columns, strict=True))
    words, rank = np.unique(np.array(list(word_of), str), return_inverse=True)
    return WordClips(files, np.asarray(speakers, object), words.tolist(), file, rank.astype(np.int32)[word], start, end,
                     sorted(problems), marks)
