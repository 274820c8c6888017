"""Keep a cohort beside an encoder: what it makes of others' speech, which scores and thresholds are held against.

    python -m spotting.cohort --encoder runs/my_encoder --recordings LibriSpeech/train-clean-5 --alignments alignments
    python -m spotting.cohort --name my_encoder --manifest 1000

Windows of running speech, at random places. Where the words of a recording are known, from TextGrids or the manifest,
those windows in which a word is said do not count against it once it is enrolled. The cohort lies in the run's folder,
cohort.npz, and goes where the encoder goes, exports included, without the recordings.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.base.errors import UserError, exit_cleanly
from data.base.files import ROOT, write_atomically
from models.runs.options import whole
from spotting.command import check_output, warn
from spotting.encoders import add_encoder, check_flags, load
from spotting.impostors import Cohort, pack, place_of, unpack

if TYPE_CHECKING:
    from spotting.encoders import Embedder

WINDOWS = 5_000  # 450 kB; more than an hour of speech
LEAST = 30  # below which there is no tail worth the name
RUNNING = 2.0  # times a window's length, from which on a recording is running speech, not a word
Spoken = dict[str, list[tuple[float, float, str]]]  # of files: start, end, word


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m spotting.cohort", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", help="a registered data set, whose training recordings are taken")
    parser.add_argument("--registry", type=Path, default=ROOT / "manifests.json",
                        help="the file that --manifest is looked up in (default: manifests.json beside the scripts)")
    parser.add_argument("--recordings", type=Path, nargs="+", metavar="PATH",
                        help="instead of --manifest: recordings of running speech, and folders of such")
    parser.add_argument("--alignments", type=Path, metavar="DIR",
                        help="TextGrids named as the recordings are, which tell what is said where")
    parser.add_argument("--seed", type=whole, default=0, help="of the places (default: 0)")
    add_encoder(parser, "the shipped one", onnx=False)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    from spotting.sound import files_of

    check_flags(args)
    if (args.manifest is None) == (args.recordings is None):
        raise UserError("--manifest and --recordings: give one of them, the speech to take windows of")
    if args.recordings:
        files, spoken = files_of(args.recordings, "--recordings"), {}
    else:
        files, spoken = training_files(args.manifest, args.registry)
    if args.alignments:
        spoken |= aligned(files, args.alignments)
    embedder = load(args, with_cohort=False)
    path = place_of(embedder.facts)
    if path is None:
        raise UserError(f"{embedder.facts.path}: lies in no run's folder, where a cohort could be kept")
    check_output(path)
    cohort = gather(embedder, files, spoken, args.seed, warn)
    if isinstance(cohort, str):
        raise UserError(cohort)
    with write_atomically(path, "wb") as file:
        file.write(cohort.content)
    known = sum(bool(said) for said in cohort.spoken)
    print(f"wrote {path}: {len(cohort.spoken):,} windows of {len(files):,} recordings, in {known:,} of which words are "
          f"known; {len(cohort.content) / 1e3:.0f} kB")
    return 0


def training_files(name: str, registry: Path) -> tuple[list[str], Spoken]:
    """The training recordings of a data set, and where which of its words is said in them."""
    from data import joined

    train, spoken = joined.load(name, ("train",), registry).splits["train"], defaultdict(list)
    for i in range(len(train)):
        clip = train[i]
        spoken[clip.path].append((clip.offset, clip.offset + clip.duration, clip.label))
    return list(spoken), spoken


def aligned(files: list[str], folder: Path) -> Spoken:
    """What is said in recordings by the TextGrids of the same names in a folder. Raises UserError if none has one."""
    from data.sources.textgrids import SILENCE, TextGridError, read_words

    grids = {path.stem: path for path in sorted(folder.rglob("*.TextGrid"))}
    spoken, problems = {}, []
    for file in files:
        if (grid := grids.get(Path(file).stem)) is None:
            continue
        try:
            tier = read_words(grid)
        except TextGridError as error:
            problems.append(f"{grid}: {error}")
            continue
        spoken[file] = [(start, end, mark) for start, end, mark in zip(tier.start, tier.end, tier.mark, strict=True)
                        if mark not in SILENCE]
    if problems:
        warn(f"left out {len(problems)} TextGrids, such as {problems[0]}")
    if not spoken:
        raise UserError(f"--alignments {folder}: no usable TextGrid is named as a recording is, such as "
                        f"{Path(files[0]).stem}.TextGrid")
    return spoken


def gather(embedder: Embedder, files: list[str], spoken: Spoken, seed: int, say: Callable[[str], None]) -> Cohort | str:
    """A cohort of windows at random places of recordings, about as many a second from each; or why there is none.

    Recordings of single words are passed over where there is running speech.
    """
    import soundfile
    from tqdm import tqdm

    from data.decoding import SAMPLE_RATE, decode, fit, open_audio
    from spotting.search import has_sound

    length, rng, lengths, broken = embedder.facts.clip_seconds, np.random.default_rng(seed), {}, []
    for file in files:
        try:
            with open_audio(file) as sound:
                lengths[file] = sound.frames / sound.samplerate
        except (UserError, OSError, soundfile.LibsndfileError) as error:
            broken.append(str(error))
    running = {file: seconds for file, seconds in lengths.items() if seconds >= RUNNING * length} or lengths
    places = [(file, rng.uniform(0, max(0.0, seconds - length)))
              for file, seconds in running.items() for _ in range(max(1, round(seconds / length)))]
    chosen = sorted(rng.permutation(len(places))[:WINDOWS])
    by_file = defaultdict(list)
    for i in chosen:
        by_file[places[i][0]].append(places[i][1])
    clips, said = [], []
    for file, starts in tqdm(by_file.items(), desc="cohort", unit=" files", disable=None, leave=False):
        try:
            samples = decode(file)
        except UserError as error:
            broken.append(str(error))
            continue
        for start in starts:
            first = round(start * SAMPLE_RATE)
            clip = fit(samples[first:first + embedder.facts.clip_samples], embedder.facts.clip_samples)
            if has_sound(clip[None])[0]:
                clips.append(clip)
                said.append(" ".join(word for begun, ended, word in spoken.get(file, ())
                                     if begun < start + length and ended > start))
    for reason in broken[:5]:
        say(f"left out {reason}")
    if len(broken) > 5:
        say(f"left out {len(broken) - 5} more that cannot be used")
    if len(clips) < LEAST:
        return f"only {len(clips)} windows with sound, and a cohort needs {LEAST}: name more recordings"
    facts = embedder.facts
    return unpack(pack(embedder(np.stack(clips)), said, facts.sha256), facts.sha256, facts.width)


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
