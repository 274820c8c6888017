"""Enrol words from a few recordings of each, to be found by spotting.find and spotting.listen.

    python -m spotting.enroll --clips my_words --out words.json --name my_encoder

The recordings lie in a folder a word, as for data.folder: any format, any rate; of a longer recording the loudest
stretch is taken for the word.
"""

import argparse
import os
from pathlib import Path

import numpy as np

from data.base.errors import UserError, exit_cleanly
from data.base.files import check_output, locked
from data.base.values import positive
from spotting.command import FA_PER_HOUR, add_channel, add_hop, print_table, warn
from spotting.detection.thresholds import NO_COHORT, allowed, by_cohort, calibrate, hear, look_for_the_word, passing
from spotting.encoders.gather import heard_in_training
from spotting.encoders.load import add_encoder, load
from spotting.sound.blocks import files_of, open_file
from spotting.words.distinct import copies, without_repeats
from spotting.words.recordings import THRESHOLD, enrol, find_recordings
from spotting.words.words_file import misfits, read_words, suited, taken_for, write_words

FEW = 3  # clips of a word, below which there is a warning


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m spotting.enroll", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, metavar="DIR",
                        help="folder of one sub-folder per word, with a few recordings of it each")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file of words to write (JSON)")
    parser.add_argument("--add", action="store_true",
                        help="add to the words of FILE, and to their clips (default: FILE must not exist)")
    parser.add_argument("--word_seconds", type=positive, metavar="S",
                        help="how long the words last; longer ones than the encoder's clip are enrolled as a sequence "
                             "of windows (default: heard in the recordings)")
    add_channel(parser)
    group = parser.add_argument_group("threshold")
    group.add_argument("--background", type=Path, nargs="+", metavar="PATH",
                       help="recordings without the words, and folders of such: they set each word's threshold; "
                            "where they are too short to show --fa_per_hour, the cohort's threshold is the least")
    group.add_argument("--fa_per_hour", type=positive, default=FA_PER_HOUR, metavar="RATE",
                       help="false alarms of a word in an hour of --background that its threshold allows; without, in "
                            f"an hour of speech as far as the cohort tells (default: {FA_PER_HOUR:g})")
    add_hop(group)
    add_encoder(parser, "with --add that of FILE, else the shipped one")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    # Flags, encoder.
    content = content_of(args.out)
    if not args.add and os.path.lexists(args.out):
        raise UserError(f"--out {args.out}: is there already; add to it with --add, or choose another name")
    before = read_words(args.out) if args.add else None
    check_output(args.out)
    background = files_of(args.background, "--background", warn) if args.background else None
    embedder = load(args, before.encoder if before else None)
    hop = embedder.facts.hop_samples(args.hop)
    if before:
        embedder = suited(before, embedder, args.out)

    # Words.
    recorded = find_recordings(args.clips, embedder.facts.clip_seconds, warn, args.channel)
    words = enrol(recorded, embedder, warn, before, args.word_seconds)
    words.cohort = embedder.cohort and embedder.cohort.digest
    describe(words.words)

    # Thresholds.
    if background:
        by_background(args, words, background, embedder, hop)
    else:
        without_background(args, words, before, embedder, hop)
    warn(*taken_for(words.words, embedder.cohort))

    # The file.
    with locked(args.out.absolute().parent):
        if content_of(args.out) != content:
            raise UserError(f"--out {args.out}: has been written by another process meanwhile, and stays as it is; "
                            "run this again with --add, or choose another name")
        write_words(args.out, words)
    print(f"wrote {args.out}: {len(words.words)} words of {embedder.facts}")
    return 0


def content_of(path: Path) -> bytes | None:
    """Of a file, to tell later whether it is the same; None of what is no file."""
    return path.read_bytes() if path.is_file() else None


def describe(words) -> None:
    """Print how alike each word's clips are, and name those that are few, do not fit or repeat another."""
    rows = [("word", "clips", "alike", "least")]
    for word in words:
        scores = word.left_out_scores()
        alike = ("-", "-") if np.isnan(scores).any() else (f"{scores.mean():.2f}", f"{scores.min():.2f}")
        rows.append((word.name, str(len(scores)), *alike))
    print_table(rows)
    if few := [word.name for word in words if len(word.clips) < FEW]:
        warn(f"warning: fewer than {FEW} clips of {', '.join(few)}; enrol five or more, spoken as they will be")
    for clip, why in misfits(words):
        warn(f"does not fit: {clip.file} {why}; listen to it at {clip.offset:.2f} s")
    warn(*copies(words))


def by_background(args, words, files, embedder, hop) -> None:
    """Thresholds by the background, and where it is too short for the rate that is asked for, by the cohort, too."""
    files = without_repeats(files, "--background", warn, [clip.file for word in words.words for clip in word.clips],
                            "are enrolled recordings")
    _, trained_on = heard_in_training(embedder.facts, {"files of --background": [(file, 0.0, None) for file in files]},
                                      args.channel)
    warn(*(f"warning: {line}" for line in trained_on))
    background = hear(((file, open_file(file, warn, channel=args.channel)) for file in files), embedder, words.words,
                      hop, "--background", warn)
    least = None
    if not allowed(args.fa_per_hour, background.hours):
        try:
            by_cohort(words.words, embedder, args.fa_per_hour, hop)
            least = [word.threshold for word in words.words]
        except UserError as error:
            warn(f"the thresholds rest on so short a background alone: {error}")
    print(*calibrate(words, background, args.fa_per_hour, embedder.cohort, least), sep="\n")
    words.calibration["hop"] = args.hop
    warn(*look_for_the_word(words, background, embedder.cohort))


def without_background(args, words, before, embedder, hop) -> None:
    """Thresholds of words whose clips are the same as before stay; others come from the cohort, or are `THRESHOLD`."""
    old = {(word.name, len(word.clips)) for word in before.words} if before else ()
    changed = [word for word in words.words if (word.name, len(word.clips)) not in old]
    words.calibration = before.calibration if before else {}
    if not changed:
        return
    then, names = words.calibration.get("hop", args.hop), [word.name for word in changed]
    if len(changed) < len(words.words) and then != args.hop:
        raise UserError(f"--hop {args.hop:g}: the thresholds in {args.out} were set with --hop {then:g}; add with "
                        "that, or enrol all words again")
    if not embedder.cohort:
        warn(f"threshold {THRESHOLD:g} for {', '.join(names)}, which rests on no recording ({NO_COHORT}); set it with "
             "--background and recordings without the words")
        return
    by_cohort(changed, embedder, args.fa_per_hour, hop)
    words.calibration["hop"] = args.hop
    for word in changed:
        print(f"{word.name}: threshold {word.threshold:.3f} for about {args.fa_per_hour:g} false alarms an hour, by "
              f"{len(embedder.cohort.without(names)):,} seconds of others' speech; {passing(word, embedder.cohort)[1]}")
    warn("of your recordings, only --background can tell how many false alarms an hour these thresholds give")


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
