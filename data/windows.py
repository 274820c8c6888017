"""Cut running speech into windows without labels: for a teacher (``TripletEncoder.py --teacher``), or as voices.

A window is an utterance of the class ``_speech_``, by offset and duration: nothing is copied. Its speaker is the folder
below DIR that the recording lies in, or what ``--speaker_regex`` finds; no speaker is in two splits.
"""

import argparse
import os
import re
from pathlib import Path

import numpy as np

from data.base import values
from data.base.errors import UserError, exit_cleanly
from data.base.files import ROOT
from data.base.find import AUDIO, report, walk
from data.manifests.manifest import UNLABELLED, Utterance
from data.manifests.registry import REGISTRY, SPLITS, claim_name
from data.sources.splits import balanced_split, check_disjoint, count_table, vet, without_copies, write_corpus

PROGRAM = "python -m data.windows"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__.split("\n")[0], allow_abbrev=False,
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter,
                                     epilog=f"example: {PROGRAM} LibriSpeech/train-clean-5 --name speech")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of recordings")
    parser.add_argument("--speaker_regex", type=values.one_group, default="^([^/]+)/", metavar="REGEX",
                        help="its first group, searched in a recording's path below DIR, is the speaker; the default "
                             "is the folder below DIR")
    parser.add_argument("--clip_seconds", type=values.clip_seconds, default=1.0, metavar="S", help="of a window")
    parser.add_argument("--hop", type=values.clip_seconds, default=0.5, metavar="S",
                        help="seconds from the start of a window to that of the next")
    parser.add_argument("--exclude_speakers", nargs="+", default=[], metavar="NAME", help="to leave out")
    parser.add_argument("--name", required=True, help="name to register, for --manifest")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the manifests (default: datasets/<name>)")
    parser.add_argument("--registry", type=Path, default=REGISTRY, metavar="FILE", help="registry of data sets")
    return values.parse(parser, argv)


def main(args: argparse.Namespace) -> None:
    root, out = (Path(os.path.abspath(folder)) for folder in (args.folder, args.out or ROOT / "datasets" / args.name))
    claim_name(args.name, out, args.registry, PROGRAM)
    windows, digests = vet(_windows(args, root, out), skip_bad_audio=True)
    speakers, own = np.unique([window.speaker for window in windows], return_inverse=True)
    if len(speakers) < len(SPLITS):
        raise UserError(f"there are {len(speakers)} speakers; at least {len(SPLITS)} are needed, one a split")
    home = balanced_split(list(speakers), np.bincount(own)[:, None])
    splits = {split: [] for split in SPLITS}
    for window, speaker in zip(windows, own, strict=True):
        splits[SPLITS[home[speaker]]].append(window)
    splits = without_copies(splits, digests, drop_duplicates=True)
    check_disjoint(splits)
    print(count_table(splits, [UNLABELLED]))
    write_corpus(args.name, splits, out, made_by=args.command, registry=args.registry)


def _windows(args: argparse.Namespace, root: Path, out: Path) -> list[Utterance]:
    """All windows of the recordings below a folder, whole ones only; problems are counted and listed."""
    from data.audio.decoding import open_audio

    entries, problems = walk(root, AUDIO)
    windows, excluded = [], set()
    for entry in entries:
        name = os.path.relpath(entry.path, root).replace(os.sep, "/")
        speaker = (match := re.search(args.speaker_regex, name)) and match[1]
        if not speaker:
            problems.append(("recordings without a speaker", entry.path, "see --speaker_regex"))
            continue
        if speaker in args.exclude_speakers:
            excluded.add(speaker)
            continue
        try:
            with open_audio(entry.path) as file:
                seconds = file.frames / file.samplerate
        except UserError as error:
            problems.append(("recordings that cannot be used", entry.path, str(error)))
            continue
        count = int((seconds - args.clip_seconds) / args.hop + 1e-9) + 1 if seconds >= args.clip_seconds else 0
        if not count:
            problems.append(("recordings shorter than a window", entry.path, f"{seconds:.2f} s"))
        windows += [Utterance(entry.path, UNLABELLED, args.clip_seconds, round(i * args.hop, 6), speaker)
                    for i in range(count)]
    report(problems, out / "problems.tsv")
    if unknown := sorted(set(args.exclude_speakers) - excluded):
        raise UserError(f"--exclude_speakers {unknown[0]}: {root} has no recordings of that speaker")
    if not windows:
        raise UserError(f"{root}: has no recording of {args.clip_seconds:g} s whose speaker is known; put them into "
                        "one folder per speaker, or give --speaker_regex")
    return windows


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
