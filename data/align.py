"""Word times for LibriSpeech from nothing: force-align every utterance with its transcript, one TextGrid each.

pocketsphinx brings the acoustic model and the dictionary; words that it lacks are pronounced by
`data.lettersounds`. The TextGrids have one tier ``words``, and lie as the public alignments do:
``<part>/<speaker>/<chapter>/<utterance>.TextGrid``. `data.libriwords` reads them.
"""

import argparse
import os
import re
import sys
import time
from collections import Counter
from functools import lru_cache
from pathlib import Path

from data.errors import UserError, exit_cleanly
from data.files import write_atomically
from data.manifests import ROOT

# Phone and word beam: pocketsphinx's own, then a wider one that found 3 of 4 utterances lost by it in noise of 15 dB.
# Wider still loses clean ones.
_BEAMS = ((1e-48, 7e-29), (1e-80, 1e-60))
_RATE = 100  # frames a second
_TASK = 20  # utterances at a time: some seconds of work, so that progress shows and little is lost
_SHOWN = 5


class AlignmentError(Exception):
    """An utterance that cannot be aligned: a kind to count by, and the detail."""


def align(samples, words: list[str]) -> list[tuple[str, float, float]]:
    """Force-align one utterance.

    The same whatever was aligned before: the decoder's running means start anew.

    Args:
        samples: (T,) int16 at 16 kHz.
        words: its transcript, lower case.

    Returns:
        (word, start, end) of every word, seconds.

    Raises:
        AlignmentError: a word that cannot be pronounced, or no alignment found.
    """
    if not words:
        raise AlignmentError("empty transcript", "")
    for beams in _BEAMS:
        decoder = _decoder(*beams)
        _add_words(decoder, words)
        try:
            decoder.reinit_feat()
            decoder.set_align_text(" ".join(words))
            decoder.start_utt()
            decoder.process_raw(samples.tobytes(), full_utt=True)
            decoder.end_utt()
            found = [(re.sub(r"\(\d+\)$", "", s.word), s.start_frame / _RATE, (s.end_frame + 1) / _RATE)
                     for s in decoder.seg() or () if s.word[0] not in "<[("]  # those are silence and noise
        except (RuntimeError, IndexError):
            _decoder.cache_clear()  # it is left in the middle of an utterance
            continue
        found = [(word, a, min(b, len(samples) / 16_000)) for word, a, b in found]  # the last frame may be cut short
        if [word for word, *_ in found] == words and all(a < b for _, a, b in found):
            return found
    raise AlignmentError("no alignment found", f"{len(words)} words in {len(samples) / 16_000:.2f} s of audio")


@lru_cache(len(_BEAMS))
def _decoder(beam: float, word_beam: float):
    from pocketsphinx import Decoder

    return Decoder(lm=None, cmn="batch", loglevel="FATAL", beam=beam, pbeam=beam, wbeam=word_beam)


def _add_words(decoder, words: list[str]) -> None:
    from data.lettersounds import pronounce

    for word in words:
        if decoder.lookup_word(word) is None:
            phones = pronounce(word, decoder.lookup_word)
            if phones is None:
                raise AlignmentError("word that cannot be pronounced", repr(word))
            decoder.add_word(word, phones, False)


def _align_task(task: list[tuple[str, str, str]]) -> tuple[float, list[tuple[str, str, str]], list[tuple[str, str]]]:
    """Align (audio, transcript, TextGrid) triples.

    Returns:
        seconds of speech aligned; (kind, audio, detail) of what was not; (word, phones) of words not in the dictionary.
    """
    from data.audio import decode
    from data.lettersounds import pronounce
    from data.textgrids import write_words

    seconds, problems, new = 0.0, [], set()
    for audio, transcript, grid in task:
        words = transcript.lower().split()
        try:
            samples = decode(audio)
            aligned = align(samples, words)
        except AlignmentError as error:
            problems.append((error.args[0], audio, error.args[1]))
            continue
        except UserError as error:
            problems.append(("audio cannot be used", audio, str(error)))
            continue
        write_words(grid, aligned, len(samples) / 16_000)
        seconds += len(samples) / 16_000
        new.update(word for word in words if word not in _dictionary())
    lookup = _decoder(*_BEAMS[0]).lookup_word
    return seconds, problems, [(word, lookup(word) or pronounce(word, lookup)) for word in sorted(new)]


@lru_cache(1)
def _dictionary() -> frozenset[str]:
    from pocketsphinx import get_model_path

    with open(get_model_path("en-us/cmudict-en-us.dict"), encoding="utf-8") as lines:
        return frozenset(line.split(maxsplit=1)[0] for line in lines if line.strip())


def read_transcripts(folder: str | Path) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    """Transcripts by utterance id, of every ``*.trans.txt`` below ``folder``; and what could not be read."""
    from data.wordscan import find_files

    transcripts, problems = {}, []
    for entry in find_files(folder, (".txt",)).values():
        if not entry.name.endswith(".trans.txt"):
            continue
        try:
            lines = Path(entry.path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(("transcript file unreadable", entry.path, str(error)))
            continue
        for line in filter(str.strip, lines):
            name, *text = line.split(maxsplit=1)
            transcripts[name] = text[0] if text else ""
    return transcripts, problems


def compare(folder: str | Path, other: str | Path) -> str:
    """How far the words of one folder's TextGrids lie from those of another's, as lines of text.

    Raises:
        UserError: no utterance is in both with the same words.
    """
    import numpy as np

    from data.textgrids import TextGridError, read_words
    from data.wordscan import find_files

    ours, theirs = find_files(folder, (".textgrid",)), find_files(other, (".textgrid",))
    difference, different, utterances = [], [], 0
    for name in sorted(ours.keys() & theirs.keys()):
        try:
            a, b = (list(read_words(files[name].path).words()) for files in (ours, theirs))
        except TextGridError:
            different.append(name)
            continue
        if [word.lower() for word, *_ in a] != [word.lower() for word, *_ in b]:
            different.append(name)
            continue
        utterances += 1
        difference += [(abs(p[1] - q[1]), abs(p[2] - q[2])) for p, q in zip(a, b, strict=True)]
    if not difference:
        raise UserError(f"--compare {other}: no TextGrid there has the utterance and words of one in {folder}")
    lines = [f"compared with {other}: {len(difference):,} words of {utterances:,} utterances"
             + (f"; {len(different):,} have other words, such as {different[0]}" if different else "")]
    for name, column in zip(("start", "end"), 1000 * np.asarray(difference).T, strict=True):
        median, ninety, worst = np.percentile(column, [50, 90, 100])
        lines.append(f"  word {name:5}  median {median:.0f} ms, 90th percentile {ninety:.0f} ms, most {worst:.0f} ms; "
                     f"{(column < 5).mean():.1%} equal, {(column < 50).mean():.1%} within 50 ms")
    return "\n".join(lines)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.align", description=__doc__.split("\n\n")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:  python -m data.align --librispeech datasets/librispeech\n"
               "then:     python -m data.libriwords --sizes 10 100")
    group = parser.add_argument_group("alignment")
    group.add_argument("--librispeech", type=Path, default=ROOT / "datasets" / "librispeech", metavar="DIR",
                       help="folder with LibriSpeech's audio and transcripts, at any depth "
                            "(default datasets/librispeech)")
    group.add_argument("--out", type=Path, default=ROOT / "datasets" / "librispeech_alignments", metavar="DIR",
                       help="where the TextGrids go; utterances that have one there are done "
                            "(default datasets/librispeech_alignments)")
    group.add_argument("--compare", type=Path, metavar="DIR",
                       help="finally report how far the words lie from those of the TextGrids in this folder "
                            "(default none)")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    for flag, folder in (("librispeech", args.librispeech), ("compare", args.compare)):
        if folder is not None and not folder.is_dir():
            raise UserError(f"--{flag} {folder}: no such folder")
    todo, sizes, problems = _pending(args.librispeech, args.out)
    if todo:
        problems += _align_all(todo, sizes, args.out)
    for kind, count in sorted(Counter(kind for kind, *_ in problems).items()):
        named = [f"{path} {detail}".strip() for k, path, detail in problems if k == kind]
        print(f"skipped: {kind} ({count:,}): {'; '.join(named[:_SHOWN])}{'; ...' * (count > _SHOWN)}", file=sys.stderr)
    with write_atomically(args.out / "skipped.tsv") as file:
        file.writelines("\t".join(" ".join(cell.split()) for cell in row) + "\n" for row in sorted(problems))
    if args.compare:
        print(compare(args.out, args.compare))


def _pending(librispeech: Path, out: Path) -> tuple[list[tuple[str, str, str]], list[int], list[tuple[str, str, str]]]:
    """(audio, transcript, TextGrid to write) of what is to be done, their audio's bytes, and what lacks a partner."""
    from data.wordscan import AUDIO, find_files

    audio = find_files(librispeech, AUDIO)
    transcripts, problems = read_transcripts(librispeech)
    if not audio or not transcripts:
        raise UserError(f"--librispeech {librispeech}: no {'audio file' if not audio else '*.trans.txt'} in it")
    todo, sizes, done = [], [], 0
    for name, entry in sorted(audio.items()):
        if name not in transcripts:
            problems.append(("audio without transcript", entry.path, ""))
            continue
        inside = Path(os.path.relpath(entry.path, librispeech))
        if inside.parts[0] == "LibriSpeech":
            inside = inside.relative_to("LibriSpeech")
        grid = out / inside.with_suffix(".TextGrid")
        if grid.exists():
            done += 1
        else:
            todo.append((entry.path, transcripts[name], str(grid)))
            sizes.append(entry.stat().st_size)
    problems += [("transcript without audio", name, "") for name in sorted(transcripts.keys() - audio.keys())]
    print(f"{len(todo):,} utterances to align" + (f", {done:,} are done" if done else ""))
    return todo, sizes, problems


def _align_all(todo: list[tuple[str, str, str]], sizes: list[int], out: Path) -> list[tuple[str, str, str]]:
    from tqdm import tqdm

    from data.parallel import ordered_map

    tasks = [todo[i:i + _TASK] for i in range(0, len(todo), _TASK)]
    seconds, problems, new, began = 0.0, [], {}, time.monotonic()
    # Bytes of audio, not utterances: these differ tenfold in length. A log gets a line a minute.
    with tqdm(total=sum(sizes), desc="aligning", unit="B", unit_scale=True,
              mininterval=0.5 if sys.stderr.isatty() else 60) as progress:
        for i, (more, failed, words) in enumerate(ordered_map(_align_task, tasks)):
            seconds += more
            problems += failed
            new.update(words)
            progress.update(sum(sizes[i * _TASK:(i + 1) * _TASK]))
    took = time.monotonic() - began
    print(f"aligned {len(todo) - len(problems):,} utterances, {seconds / 3600:.2f} h of speech, in {took:.0f} s "
          f"({seconds / took:.0f} times real time); TextGrids in {out}")
    if new:
        print(f"{len(new):,} words are not in the dictionary and were pronounced by rule, such as "
              + ", ".join(f"{word} ({phones})" for word, phones in sorted(new.items())[:_SHOWN]))
    return problems


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
