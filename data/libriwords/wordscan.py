"""Every aligned word of a corpus by columns: TextGrids matched to their utterances, read on all cores."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.audio.decoding import open_audio
from data.base.cores import ordered_map
from data.base.errors import UserError, first_few
from data.base.find import AUDIO, Problem, walk
from data.base.labels import one_form, one_spelling
from data.sources.textgrids import TextGridError, read_word_tier

# LibriSpeech's and LibriTTS's names: 84-121123-0000, 84_121123_000007_000001.
LIBRI_NAMES = r"^(?:.*/)?([^-/]+)-[^-/]+-[^-/]+\.\w+$|^(?:.*/)?(\d+)_\d+_\d+_\d+\.\w+$"
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


def scan(librispeech: str | Path, alignments: str | Path, speaker_regex: str | None = None,
         tier: str | None = None) -> WordClips:
    """Read the words of every TextGrid, of ``tier`` as `read_word_tier` does, that has an utterance, see `pair_up`.

    The first group of ``speaker_regex``, searched in a file's path within ``librispeech``, is the speaker; None stands
    for the names of LibriSpeech and LibriTTS.
    """
    (audio, problems), (grids, more) = walk(librispeech, AUDIO), walk(alignments, (".textgrid",))
    paired, alone = pair_up(audio, grids, (librispeech, alignments))
    problems += more + alone
    regex, pairs, speakers = re.compile(speaker_regex or LIBRI_NAMES), [], []
    for pair in paired:
        match = regex.search(_inside(pair[1], librispeech))
        if speaker := match and next(filter(None, match.groups()), None):
            pairs.append(pair)
            speakers.append(speaker)
        else:
            problems.append(("name that tells no speaker", pair[1], "see --speaker_regex, such as '^([a-z]+)[0-9]'"))
    speakers, groups = one_spelling(speakers)
    if groups:
        print(f"joined {len(groups):,} speakers whose names look the same: "
              + first_few((" and ".join(group) for group in groups), between="; "))
    tasks, read = [(i, pairs[i:i + CHUNK], tier) for i in range(0, max(1, len(pairs)), CHUNK)], []
    with tqdm(total=len(pairs), desc="reading TextGrids", unit=" files", disable=None, leave=False) as progress:
        for (_, part, _), found in zip(tasks, ordered_map(_read_chunk, tasks), strict=True):
            read.append(found)
            progress.update(len(part))
    word_of: dict[str, int] = {}
    marks, columns = Counter(), []
    for its_words, (file, word, start, end), more, unsaid in read:
        index = np.array([word_of.setdefault(one, len(word_of)) for one in its_words], np.int32)
        columns.append((file, index[word], start, end))
        problems += more
        marks.update(unsaid)
    file, word, start, end = map(np.concatenate, zip(*columns, strict=True))
    words, rank = np.unique(np.array(list(word_of), str), return_inverse=True)
    return WordClips([path for _, path in pairs], np.asarray(speakers, object), words.tolist(), file,
                     rank.astype(np.int32)[word], start, end, sorted(problems), marks)


def pair_up(audio: Sequence[os.DirEntry], grids: Sequence[os.DirEntry],
            folders: tuple[str | Path, str | Path]) -> tuple[list[tuple[str, str]], list[Problem]]:
    """Match TextGrids with recordings by name, those of a name that several have by their paths in their folders.

    A name as LibriSpeech has them is of one utterance: further files are copies. ``folders`` are those of the audio and
    of the TextGrids. Returns (TextGrid, audio) in order of the audio's path; and what has no partner.
    """
    problems, found = [], []
    names = [Counter(_stem(entry) for entry in files if not re.search(LIBRI_NAMES, entry.name))
             for files in (audio, grids)]
    several = {name for counts in names for name, count in counts.items() if count > 1}
    for files, folder, kind in zip((audio, grids), folders, ("audio file", "TextGrid"), strict=True):
        by_key: dict[str, os.DirEntry] = {}
        for entry in files:
            key = os.path.splitext(_inside(entry.path, folder))[0] if _stem(entry) in several else _stem(entry)
            if by_key.setdefault(key, entry) is not entry:
                problems.append((f"second {kind} of one utterance", entry.path, ""))
        found.append(by_key)
    for files, others, kind in ((*found, "audio without TextGrid"), (*found[::-1], "TextGrid without audio")):
        problems += [(kind, entry.path, "several files have its name, and none of the other kind its path"
                      if _stem(entry) in several else "") for key, entry in files.items() if key not in others]
    pairs = [(found[1][key].path, entry.path) for key, entry in found[0].items() if key in found[1]]
    return sorted(pairs, key=lambda pair: pair[1]), problems


def _stem(entry: os.DirEntry) -> str:
    return os.path.splitext(entry.name)[0]


def _inside(path: str, folder: str | Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def most_often(problems: list[Problem]) -> str:
    """The most frequent kind of problem, with an example, as the end of a message."""
    if not problems:
        return ""
    kind = Counter(kind for kind, *_ in problems).most_common(1)[0][0]
    path, detail = next((path, detail) for k, path, detail in problems if k == kind)
    return f"; most often: {kind}, such as {path}" + f" ({detail})" * bool(detail)


def _read_chunk(task: tuple[int, list[tuple[str, str]], str | None]
                ) -> tuple[list[str], tuple[np.ndarray, ...], list[Problem], Counter]:
    """Read some TextGrids; the task is the number of the first, (TextGrid, audio) pairs and the tier. Returns words;
    columns, one row a saying: number of the TextGrid, word, start and end in seconds; problems; marks."""
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
