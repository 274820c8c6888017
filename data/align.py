"""Word times for LibriSpeech from nothing: force-align every utterance with its transcript, one TextGrid each.

By pocketsphinx; eSpeak NG pronounces words that it does not know. The TextGrids have one tier ``words``, and lie as the
public alignments do, for `data.libriwords`.
"""

import argparse
import ctypes
import os
import re
import sys
import time
from functools import lru_cache
from pathlib import Path

from tqdm import tqdm

from data.audio.decoding import decode
from data.base.cores import ordered_map
from data.base.errors import UserError, exit_cleanly
from data.base.files import ROOT, read_text
from data.base.find import AUDIO, Problem, report, walk
from data.sources.textgrids import write_words

# Phone and word beam: pocketsphinx's own, then a wider one that found 3 of 4 utterances lost by it in noise of 15 dB.
# Wider still loses clean ones.
_BEAMS = ((1e-48, 7e-29), (1e-80, 1e-60))
_RATE = 100  # frames a second
_TASK = 20  # utterances at a time: some seconds of work, so that progress shows and little is lost
_PLAIN = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc`\u00b4", "'") | dict.fromkeys("_*", "")  # emphasis
                       | dict.fromkeys("-\u2010\u2011\u2012\u2013\u2014\u2026/", " "))
# eSpeak NG's names of phonemes in its American voice, stress marks left out; what is not here is silent.
_PHONES = """
    p>P b>B t>T t#>T t2>T d>D k>K g>G f>F v>V T>TH D>DH s>S z>Z S>SH Z>ZH h>HH m>M n>N n->AH+N N>NG l>L r>R r->R w>W
    j>Y tS>CH dZ>JH x>K ?>T @>AH @->AH @2>AH @L>AH+L 3>ER 3:>ER a>AE a#>AH aa>AE A:>AA A@>AA+R 0>AA V>AH E>EH e@>EH+R
    eI>EY I>IH I2>IH I#>IH i>IY i:>IY i@>IY+AH i@3>IH+R O:>AO O2>AO O@>AO+R o@>AO+R oU>OW OI>OY U>UH U@>UH+R u:>UW
    aI>AY aI3>AY+ER aI@>AY+AH aU>AW"""
_WORD = re.compile(r"(\W*)(\w.*\w|\w)(\W*)")


class AlignmentError(Exception):
    """An utterance that cannot be aligned: a kind to count by, and the detail."""


def align(samples, words: list[str]) -> list[tuple[str, float, float]]:
    """(word, start, end) of every word of an utterance, seconds, whatever was aligned before.

    ``samples`` are (T,) int16 at 16 kHz, ``words`` its transcript, lower case. Raises AlignmentError for a word that
    cannot be pronounced, or where no alignment is found.
    """
    if not words:
        raise AlignmentError("empty transcript", "")
    for beams in _BEAMS:
        decoder = _decoder(*beams)
        for word in words:
            if decoder.lookup_word(word) is None:
                if (phones := pronounce(word)) is None:
                    raise AlignmentError("word that cannot be pronounced", repr(word))
                decoder.add_word(word, phones, False)
        try:
            decoder.reinit_feat()
            decoder.set_align_text(" ".join(words))
            decoder.start_utt()
            decoder.process_raw(samples.tobytes(), full_utt=True)
            decoder.end_utt()
            found = [(s.word, s.start_frame, s.end_frame + 1)
                     for s in decoder.seg() or () if s.word[0] not in "<[("]  # those are silence and noise
        except (RuntimeError, IndexError):
            _decoder.cache_clear()  # it is left in the middle of an utterance
            continue
        # The last frame may be cut short.
        found = [(re.sub(r"\(\d+\)$", "", word), start / _RATE, min(end / _RATE, len(samples) / 16_000))
                 for word, start, end in found]
        if [word for word, *_ in found] == words and all(start < end for _, start, end in found):
            return found
    raise AlignmentError("no alignment found", f"{len(words)} words in {len(samples) / 16_000:.2f} s of audio")


@lru_cache(len(_BEAMS))
def _decoder(beam: float, word_beam: float):
    from pocketsphinx import Decoder

    return Decoder(lm=None, cmn="batch", loglevel="FATAL", beam=beam, pbeam=beam, wbeam=word_beam)


def words_of(transcript: str) -> list[str]:
    """The words of a transcript, lower case, without its punctuation: "Well-known," she said. -> well known she said.

    An apostrophe beside a letter stays, unless one on the other side makes them quotes.
    """
    words = []
    for token in transcript.lower().translate(_PLAIN).split():
        if match := _WORD.fullmatch(token):
            before, word, after = match.groups()
            quoted = "'" in before and "'" in after
            words.append(word if quoted else "'" * before.endswith("'") + word + "'" * after.startswith("'"))
    return words


def align_task(task: list[tuple[str, str, str]]) -> tuple[float, list[tuple[str, str, str]]]:
    """Align (audio, transcript, TextGrid) triples: seconds of speech aligned; (kind, audio, detail) of what was not."""
    seconds, problems = 0.0, []
    for audio, transcript, grid in task:
        try:
            samples = decode(audio)
            aligned = align(samples, words_of(transcript))
        except AlignmentError as error:
            problems.append((error.args[0], audio, error.args[1]))
            continue
        except UserError as error:
            problems.append(("audio cannot be used", audio, str(error)))
            continue
        write_words(grid, aligned, len(samples) / 16_000)
        seconds += len(samples) / 16_000
    return seconds, problems


def pronounce(word: str) -> str | None:
    """Phones of a word, lower case, separated by spaces; None where it has anything but a-z and apostrophes."""
    if not re.fullmatch("[a-z']*[a-z][a-z']*", word):
        return None
    text = ctypes.c_char_p(word.encode())
    names = _espeak().espeak_TextToPhonemes(ctypes.byref(text), 1, ord(" ") << 8).decode()
    phones = dict(pair.split(">") for pair in _PHONES.split())
    spoken = " ".join(filter(None, (phones.get(name.strip("',%=")) for name in names.split()))).replace("+", " ")
    return re.sub(r"\b(\w+)( \1\b)+", r"\1", spoken) or "AH"  # oar-ah has one R


@lru_cache(1)
def _espeak() -> ctypes.CDLL:
    try:
        import espeakng_loader

        library = ctypes.CDLL(espeakng_loader.get_library_path())
        usable = library.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0) > 0
    except (ImportError, OSError, RuntimeError):
        usable = False
    if not usable or library.espeak_SetVoiceByName(b"en-us"):
        raise UserError("eSpeak NG, which pronounces words, cannot be used; install it with: pip install -r "
                        "requirements.txt")
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    return library


def read_transcripts(folder: Path) -> tuple[dict[str, str], dict[str, float], list[Problem]]:
    """Transcripts by utterance id, of every ``*.trans.txt`` below ``folder``, when their files changed, and what could
    not be read. An utterance with two different ones has none."""
    entries, problems = walk(folder, (".trans.txt",))
    transcripts: dict[str, str] = {}
    times: dict[str, float] = {}
    differing = set()
    for entry in entries:
        try:
            lines = read_text(entry.path, "transcript", "mend its permissions").split("\n")
        except UserError as error:
            problems.append(("transcript file unreadable", entry.path, str(error)))
            continue
        for line in filter(str.strip, lines):
            name, text = [*line.split(maxsplit=1), ""][:2]
            times[name] = max(_changed(entry.stat()), times.get(name, 0.0))
            if transcripts.setdefault(name, text) != text:
                differing.add(name)
                problems.append(("second, different transcript of one utterance", entry.path, name))
    return {name: text for name, text in transcripts.items() if name not in differing}, times, problems


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.align", description=__doc__.split("\n\n")[0],
        epilog="example: python -m data.align --librispeech datasets/librispeech")
    parser.add_argument("--librispeech", type=Path, default=ROOT / "datasets" / "librispeech", metavar="DIR",
                        help="folder with audio and transcripts, at any depth (default datasets/librispeech)")
    parser.add_argument("--out", type=Path, default=ROOT / "datasets" / "librispeech_alignments", metavar="DIR",
                        help="where the TextGrids go; utterances that have one there are done (default "
                             "datasets/librispeech_alignments)")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    if not args.librispeech.is_dir():
        raise UserError(f"--librispeech {args.librispeech}: no such folder")
    todo, sizes, done, problems = _pending(args.librispeech, args.out)
    failed = _align_all(todo, sizes, args.out) if todo else []
    problems += failed
    listed = args.out / "skipped.tsv"
    report(sorted(problems), listed)
    if len(failed) == len(todo) and not done:
        raise UserError(f"--librispeech {args.librispeech}: no utterance could be aligned; {listed} says why of each")


def _pending(librispeech: Path, out: Path) -> tuple[list[tuple[str, str, str]], list[int], int, list[Problem]]:
    """(audio, transcript, TextGrid to write) of what is to be done, bytes of audio, how many are done, and problems."""
    entries, problems = walk(librispeech, AUDIO)
    transcripts, changed, more = read_transcripts(librispeech)
    problems = list(dict.fromkeys([*problems, *more]))  # both name closed folders
    audio: dict[str, os.DirEntry] = {}
    for entry in entries:
        if audio.setdefault(os.path.splitext(entry.name)[0], entry) is not entry:
            problems.append(("second audio file of one utterance", entry.path, ""))
    if not audio or not transcripts:
        why = "".join(f"; {kind}: {path} {detail}".rstrip() for kind, path, detail in (more or problems)[:1])
        lacking = '*.trans.txt' if audio else 'audio file'
        raise UserError(f"--librispeech {librispeech}: no {lacking} that can be read in it{why}")
    todo, sizes, done, older = [], [], 0, []
    for name, entry in sorted(audio.items()):
        if name not in transcripts:
            problems.append(("audio without transcript", entry.path, ""))
            continue
        inside = Path(os.path.relpath(entry.path, librispeech))
        if inside.parts[0] == "LibriSpeech":
            inside = inside.relative_to("LibriSpeech")
        grid = out / inside.with_name(f"{name}.TextGrid")
        written = grid.stat() if grid.is_file() else None
        if written and written.st_size:
            done += 1
            if _changed(written) < max(_changed(entry.stat()), changed[name]):
                older.append(str(grid))
        else:
            todo.append((entry.path, transcripts[name], str(grid)))
            sizes.append(entry.stat().st_size)
    problems += [("transcript without audio", name, "") for name in sorted(transcripts.keys() - audio.keys())]
    print(f"{len(todo):,} utterances to align" + (f", {done:,} are done" if done else ""))
    if older:  # they may well be somebody's own, so they stay
        print(f"warning: of {len(older):,} that are done the recording or transcript has changed since, such as "
              f"{older[0]}; remove these TextGrids to align them anew", file=sys.stderr)
    return todo, sizes, done, problems


def _changed(state: os.stat_result) -> float:
    """When a file came to be what it is where it is: a replaced one may keep the date of its content."""
    return max(state.st_mtime, state.st_ctime)


def _align_all(todo: list[tuple[str, str, str]], sizes: list[int], out: Path) -> list[tuple[str, str, str]]:
    tasks = [todo[i:i + _TASK] for i in range(0, len(todo), _TASK)]
    seconds, problems, began = 0.0, [], time.monotonic()
    # Bytes of audio, not utterances: these differ tenfold in length. A log gets a line a minute.
    with tqdm(total=sum(sizes), desc="aligning", unit="B", unit_scale=True,
              mininterval=0.5 if sys.stderr.isatty() else 60) as progress:
        for i, (more, failed) in enumerate(ordered_map(align_task, tasks)):
            seconds += more
            problems += failed
            progress.update(sum(sizes[i * _TASK:(i + 1) * _TASK]))
    took = time.monotonic() - began
    print(f"aligned {len(todo) - len(problems):,} utterances, {seconds / 3600:.2f} h of speech, in {took:.0f} s "
          f"({seconds / took:.0f} times real time); TextGrids in {out}")
    return problems


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
