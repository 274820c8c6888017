"""Word times for LibriSpeech from nothing: force-align every utterance with its transcript, one TextGrid each.

The TextGrids have one tier ``words``, and lie as the public alignments do, for `data.libriwords`.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from tqdm import tqdm

from data.align.aligner import align_task
from data.base.cores import ordered_map
from data.base.errors import UserError, exit_cleanly
from data.base.files import ROOT, read_text
from data.base.find import AUDIO, Problem, report, walk

_TASK = 20  # utterances at a time: some seconds of work, so that progress shows and little is lost


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
