"""Every aligned word of a corpus by columns: TextGrids matched to their utterances, read once, in resumable chunks.

A thousand TextGrids make one chunk, whose words go to a file of their own as soon as they are read. A later run,
or one that goes on after a kill, takes over the chunks whose TextGrids and audio are still the same.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from tqdm import tqdm

from data.base.cores import ordered_map
from data.base.errors import UserError
from data.base.files import write_atomically
from data.sources.find import AUDIO, find_files
from data.sources.textgrids import TextGridError, read_words

CHUNK = 1_000  # TextGrids: 13 MB of text, a second or less of work
SLACK = 0.025  # seconds that an aligner's last frame may reach past the audio
_FORMAT = 1  # of the chunk files; part of their names


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


def speaker_of(utterance: str) -> str | None:
    """The speaker in a LibriSpeech utterance id ``speaker-chapter-number``, or None for any other name."""
    parts = utterance.split("-")
    return parts[0] if len(parts) == 3 and all(parts) else None


def scan(librispeech: str | Path, alignments: str | Path, cache: str | Path) -> WordClips:
    """Read the ``words`` tier of every TextGrid that has an utterance.

    Args:
        librispeech: folder with the audio at any depth, files named ``speaker-chapter-number``.
        alignments: folder with TextGrids of the same names, at any depth.
        cache: where the chunks are kept.

    Raises:
        UserError: a folder holds no such file, or no TextGrid could be used, or ``cache`` cannot be written.
    """
    audio, grids = find_files(librispeech, AUDIO), find_files(alignments, (".textgrid",))
    if not audio:
        raise UserError(f"--librispeech {librispeech}: no audio file ({', '.join(AUDIO)}) in it")
    if not grids:
        raise UserError(f"--alignments {alignments}: no .TextGrid file in it")
    problems, pairs = _pairs(audio, grids)
    if not pairs:
        raise UserError(f"--alignments {alignments}: none of its {len(grids):,} TextGrids is named like one of the "
                        f"{len(audio):,} audio files in {librispeech}; give alignments of the same utterances")
    cache = Path(cache)
    tasks = [(pairs[i:i + CHUNK], cache / f"{_key(pairs[i:i + CHUNK])}.npz") for i in range(0, len(pairs), CHUNK)]
    todo = [task for task in tasks if not task[1].exists()]
    if done := len(tasks) - len(todo):
        print(f"going on from an earlier scan: {done} of {len(tasks)} chunks of {CHUNK:,} TextGrids are done")
    with tqdm(total=len(pairs), desc="reading TextGrids", unit=" files", disable=None, leave=False,
              initial=len(pairs) - sum(len(task[0]) for task in todo)) as progress:
        for count in ordered_map(_read_chunk, todo):
            progress.update(count)
    chunks = {path.name for _, path in tasks}
    for old in cache.glob("*.npz"):  # of files that have changed since
        if old.name not in chunks:
            old.unlink(missing_ok=True)
    clips = _merge(tasks, problems)
    if not len(clips):
        kinds = Counter(kind for kind, *_ in clips.problems).most_common(1)
        raise UserError(f"--alignments {alignments}: no word in any of its {len(pairs):,} TextGrids that have audio"
                        + (f"; most often: {kinds[0][0]}, such as {clips.problems[-1][1]}" if kinds else ""))
    return clips


def _pairs(audio: dict[str, os.DirEntry], grids: dict[str, os.DirEntry]) -> tuple[list, list]:
    """What has no partner, as problems; and (TextGrid, its size and time, audio, its size and time) by audio path."""
    problems, pairs = [], []
    for name, grid in grids.items():
        if os.sep in name:
            problems.append(("second TextGrid of one utterance", name, ""))
        elif name not in audio:
            problems.append(("TextGrid without audio", grid.path, ""))
        elif speaker_of(name) is None:
            problems.append(("name is not speaker-chapter-number", grid.path, ""))
        else:
            state = [(s.st_size, s.st_mtime_ns) for s in (grid.stat(), audio[name].stat())]
            pairs.append((grid.path, state[0], audio[name].path, state[1]))
    for name, entry in audio.items():
        if os.sep in name:
            problems.append(("second audio file of one utterance", name, ""))
        elif name not in grids:
            problems.append(("audio without TextGrid", entry.path, ""))
    return problems, sorted(pairs, key=lambda pair: pair[2])


def _key(pairs: list[tuple]) -> str:
    return hashlib.sha256(repr((_FORMAT, pairs)).encode()).hexdigest()[:20]


def _read_chunk(task: tuple[list[tuple], Path]) -> int:
    """Read one chunk's TextGrids and write its words; the file appears only when it is whole."""
    pairs, path = task
    known: dict[str, int] = {}  # mark -> index into words, or -1
    words: list[str] = []
    marks: Counter = Counter()
    problems, file, word, start, end = [], [], [], [], []
    for number, (grid, _, audio, _) in enumerate(pairs):
        try:
            tier = read_words(grid)
            length = _seconds(audio)
            last = max(tier.end, default=0.0)
            if last > length + SLACK:
                raise TextGridError("past the audio's end", f"an interval ends at {last:g} s of {length:g} s")
        except TextGridError as error:
            problems.append((error.kind, grid, str(error)))
            continue
        if tier.odd:
            problems.append(("odd, but read", grid, tier.odd))
        for mark, a, b in tier.words():
            if mark not in known:
                known[mark] = len(words) if _is_word(mark) else -1
                if known[mark] >= 0:
                    words.append(mark.lower())
            if known[mark] < 0:
                marks[mark] += 1
            elif a < length:
                file.append(number)
                word.append(known[mark])
                start.append(a)
                end.append(min(b, length))
    with write_atomically(path, "wb") as out:
        np.savez(out, utterance=np.asarray(file, np.int32), word=np.asarray(word, np.int32),
                 start=np.asarray(start, float), end=np.asarray(end, float),
                 rest=json.dumps({"words": words, "marks": marks, "problems": problems}))
    return len(pairs)


def _is_word(mark: str) -> bool:
    return mark.replace("'", "").isalpha()


def _seconds(audio: str) -> float:
    import soundfile

    try:
        info = soundfile.info(audio)
    except (soundfile.SoundFileError, OSError) as error:
        raise TextGridError("audio unreadable", f"{audio}: {error}") from None
    if not info.frames:
        raise TextGridError("audio unreadable", f"{audio}: has no audio in it")
    return info.frames / info.samplerate


def _merge(tasks: Iterable[tuple[list[tuple], Path]], problems: list[tuple]) -> WordClips:
    files, speakers, marks = [], [], Counter()
    word_of: dict[str, int] = {}
    columns: dict[str, list[np.ndarray]] = {"utterance": [], "word": [], "start": [], "end": []}
    for pairs, path in tasks:
        try:
            with np.load(path) as chunk:
                rest = json.loads(str(chunk["rest"]))
                new = {name: chunk[name] for name in columns}
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise UserError(f"{path}: cannot be read ({error}); delete this part of the scan and run again") from None
        index = np.asarray([word_of.setdefault(word, len(word_of)) for word in rest["words"]], np.int32)
        new["utterance"] += len(files)
        new["word"] = index[new["word"]] if len(index) else new["word"]
        for name, parts in columns.items():
            parts.append(new[name])
        files += [pair[2] for pair in pairs]
        speakers += [speaker_of(Path(pair[2]).stem) for pair in pairs]
        problems += [tuple(problem) for problem in rest["problems"]]
        marks.update(rest["marks"])
    words = sorted(word_of)
    rank = np.empty(len(words), np.int32)
    rank[[word_of[word] for word in words]] = np.arange(len(words), dtype=np.int32)
    file, word, start, end = (np.concatenate(parts) for parts in columns.values())
    return WordClips(files, np.asarray(speakers, object), words, file, rank[word] if len(words) else word, start, end,
                     sorted(problems), marks)
