"""How good a spotter is: recordings of the words missed, against false alarms an hour in recordings without them.

    python -m spotting.score words.json --positives said --negatives LibriSpeech --noise noise --snr 10 --out score

Or over several draws of the clips to enrol, for figures that do not hang on one choice:

    python -m spotting.score --enroll_from clips --shots 10 --draws 20 --positives said --negatives LibriSpeech

Intervals are of 95 %. They allow for thresholds that are chosen on the same recordings. They take recordings as
independent: where few people speak, the truth may lie further off.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.audio.decoding import SAMPLE_RATE
from data.base import values
from data.base.errors import UserError, exit_cleanly
from data.base.files import check_output, write_atomically
from models.enrolment.enrol import few_draws
from models.enrolment.kept_cohort import tell_learnt
from models.report.tables import to_json
from spotting import command
from spotting.command import warn
from spotting.detection import tradeoff
from spotting.detection.thresholds import by_cohort, hear
from spotting.encoders.gather import heard_in_training
from spotting.encoders.load import add_encoder, load
from spotting.hits import search
from spotting.sound.blocks import files_of, open_file
from spotting.sound.conditions import Noise
from spotting.sound.heard import Heard, Remarks
from spotting.words.distinct import copied, find_positives, heard_with, leave_out_enrolled, without_repeats
from spotting.words.recordings import enrol, find_recordings
from spotting.words.words_file import Words, read_words, suited


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m spotting.score", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", type=Path, nargs="?", metavar="WORDS", help="the file that spotting.enroll wrote")
    parser.add_argument("--positives", type=Path, required=True, metavar="DIR|MANIFEST",
                        help="recordings of the words: a folder of a folder a word, or a JSON-lines manifest")
    parser.add_argument("--negatives", type=Path, nargs="+", required=True, metavar="PATH",
                        help="recordings without the words, and folders of such")
    parser.add_argument("--noise", type=Path, metavar="DIR", help="noise to add to all of them (default: none)")
    parser.add_argument("--snr", type=values.decibels, metavar="DB", help="its ratio, of speech to noise, in decibels")
    parser.add_argument("--seed", type=values.whole, default=0, help="of the noise and of --draws (default: 0)")
    parser.add_argument("--out", type=Path, metavar="STEM", help="write STEM.json and STEM.png, the curve")
    command.add_channel(parser)
    command.add_hop(parser)
    group = parser.add_argument_group("draws", "Instead of WORDS, for an average over what is enrolled.")
    group.add_argument("--enroll_from", type=Path, metavar="DIR", help="folder of a folder a word to draw clips from")
    group.add_argument("--shots", type=values.count, default=10, help="clips of each word a draw (default: 10)")
    group.add_argument("--draws", type=values.count, default=20, help="(default: 20)")
    group.add_argument("--rates", type=values.positive, nargs="+", default=[0.1, 0.5, 1.0, 2.0], metavar="RATE",
                       help="false alarms an hour of the table (default: 0.1 0.5 1 2)")
    add_encoder(parser, "the one that WORDS was enrolled with, or the shipped one")
    return values.parse(parser, argv)


def main(args: argparse.Namespace) -> int:
    # Flags, words, encoder.
    if (args.noise is None) != (args.snr is None):
        raise UserError("--noise and --snr belong together: a folder of noise, and decibels such as 10")
    if (args.words is None) == (args.enroll_from is None):
        raise UserError("WORDS and --enroll_from: give the file of words, or recordings to draw words from")
    for ending in (".json", ".png") if args.out else ():
        command.check_kept("--out", Path(f"{args.out}{ending}"), [args.positives, *filter(None, [args.words])])
        check_output(Path(f"{args.out}{ending}"))
    words = read_words(args.words) if args.words else None
    negatives, positives = files_of(args.negatives, "--negatives", warn), find_positives(args.positives)
    noise = Noise(args.noise, args.snr, args.seed, warn) if args.noise else None
    embedder = load(args, words.encoder if words else None)
    hop, clip_seconds = embedder.facts.hop_samples(args.hop), embedder.facts.clip_seconds
    if words:
        embedder = suited(words, embedder, args.words)
        command.warn_of_hop(args, words)
    tested = [words] if words else draw_words(args, embedder, hop)

    # Recordings, each once and none that is enrolled.
    positives, stretches = leave_out_enrolled(positives, tested, clip_seconds, warn, args.channel)
    clips = [clip.file for one in tested for word in one.words for clip in word.clips]
    negatives = without_repeats(negatives, "--negatives", warn, [path for _, path, *_ in positives] + clips,
                                "are recordings of the words, tested or enrolled")
    files = [*((path, 0.0, None) for path in negatives), *map(heard_with, positives)]
    tell_doubts(args, tested, embedder, stretches, files, len(negatives))

    def opened(number):
        def again():
            path, start, end = files[number]
            return open_file(path, warn, start, end, channel=args.channel)
        return noise.added_to(number, again) if noise else again()

    # The search. Of a draw's words, as of find's, the best in one place counts.
    every, together, remarks = [word for one in tested for word in one.words], len(tested[0].words), Remarks()
    background = hear(((path, opened(i)) for i, path in enumerate(negatives)), embedder, every, hop, "--negatives",
                      warn, together, remarks)
    best = best_scores([(positive[1], opened(i)) for i, positive in enumerate(positives, len(negatives))],
                       embedder, every, hop, together, remarks)
    warn(*remarks.lines(every))
    report(args, tested, np.array([label for label, *_ in positives]), best, background, embedder.facts)
    return 0


def draw_words(args, embedder, hop):
    """--draws times, --shots clips of each word of --enroll_from, with the thresholds that they get by the cohort."""
    recorded = find_recordings(args.enroll_from, embedder.facts.clip_seconds, warn, args.channel)
    whole_set = enrol(recorded, embedder, warn)
    for word in whole_set.words:
        if len(word.clips) < args.shots:
            raise UserError(f"--shots {args.shots}: {len(word.clips)} usable clips of {word.name!r} are there")
        if line := few_draws({word.name: len(word.clips)}, args.shots, args.draws):
            warn(f"warning: {line}")
    drawn, cohort = [], embedder.cohort
    for i in range(args.draws):
        orders = [np.random.default_rng([args.seed, i, w]).permutation(len(word.clips))
                  for w, word in enumerate(whole_set.words)]
        words = [replace(word, clips=[word.clips[r] for r in order[:args.shots]])
                 for word, order in zip(whole_set.words, orders, strict=True)]
        drawn.append(Words(embedder.facts, words, cohort=cohort and cohort.digest))
        if cohort:
            by_cohort(words, embedder, command.FA_PER_HOUR, hop)
    return drawn


def tell_doubts(args, tested, embedder, stretches, files, negatives: int) -> None:
    """Warn of why errors may look rarer than they are; the first of ``files`` are so many negatives."""
    notes = copied(stretches, tested, embedder, args.channel)
    paths = {path for path, *_ in files[:negatives]}
    if both := set(tested[0].calibration.get("background", ())) & paths:
        notes.append(f"{len(both)} of the negatives, such as {min(both)}, set the thresholds of {args.words}: at "
                     "these, false alarms look rarer than they are")
    unknown, heard = heard_in_training(embedder.facts, {"negatives": files[:negatives],
                                                        "recordings of words": files[negatives:]}, args.channel)
    if unknown:
        warn(unknown)
    notes += [*heard, *(tell_learnt(embedder.cohort.learnt_from(tested[0].names)) if embedder.cohort else [])]
    warn(*(f"warning: {line}" for line in notes))


def best_scores(sounds, embedder, words, hop, together, remarks) -> np.ndarray:
    """(N, W) of every recording, named and open, the highest score of each word, -inf where there is no sound or other
    words are better everywhere. See `search`."""
    best = np.full((len(sounds), len(words)), -np.inf)
    for i, (name, sound) in enumerate(tqdm(sounds, desc="positives", disable=None, leave=False)):
        heard = Heard()
        for word, hit in search(sound, embedder, words, hop, heard, together=together):
            if np.isfinite(hit.above):
                best[i, word] = max(best[i, word], hit.score)
        remarks.add(name, heard)
    return best


def report(args, tested, labels, best, background, facts) -> None:
    """Print the table of what the words of each draw, ``tested``, missed and falsely found; write JSON and curve.
    ``labels`` are (N,) those of the recordings of words, and ``best`` (N, W) their scores."""
    hours, names = background.hours, tested[0].names
    print(f"{len(labels)} recordings of {len(names)} words; {hours:.2f} h without them; encoder {facts}"
          + (f"; noise at {args.snr:g} dB" if args.noise else ""))
    scores, thresholds = tradeoff.scores_of(tested, labels, best, background), None
    if args.words or tested[0].cohort:  # draws without a cohort have no thresholds
        thresholds = [{word.name: word.threshold for word in words.words} | {tradeoff.TOGETHER: 0.0}
                      for words in tested]
    results = tradeoff.figures(scores, thresholds, args.rates, background.file_hours)
    command.print_table(tradeoff.table(results))
    if not args.out:
        return
    content = {"hours": hours, "silent_hours": background.silent, "negatives": background.files,
               "recordings": {name: int((labels == name).sum()) for name in names}, "encoder": vars(facts),
               "hop": facts.hop_samples(args.hop) / SAMPLE_RATE, "noise": args.noise and str(args.noise),
               "snr": args.snr, "seed": args.seed, "draws": len(tested),
               "shots": args.shots if args.enroll_from else None, "results": results, "command": args.command}
    title = str(args.words or f"{args.shots} clips of {args.enroll_from}, the first of {len(tested)} draws")
    with write_atomically(f"{args.out}.json") as file:
        file.write(to_json(content) + "\n")
    with write_atomically(f"{args.out}.png", "wb") as file:
        file.write(tradeoff.draw(scores[0], hours, title))
    print(f"wrote {args.out}.json and .png")


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
