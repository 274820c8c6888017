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
from models.report.page.page import check_html, write_page
from models.report.tables import to_json
from models.runs.options.testing import add_html
from spotting import command
from spotting.command import warn
from spotting.detection import tradeoff
from spotting.detection.intervals import allowed
from spotting.detection.page import page_of_score
from spotting.detection.thresholds import by_cohort, hear, lowest
from spotting.detection.tradeoff import RATES, Outcome
from spotting.encoders.gather import heard_in_training
from spotting.encoders.load import add_encoder, load
from spotting.hits.search import search
from spotting.sound.blocks import files_of, open_file
from spotting.sound.heard import Heard, Remarks
from spotting.sound.noise import Noise
from spotting.sound.repeats import without_repeats
from spotting.words.positives import copied, find_positives, heard_with, leave_out_enrolled
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
    add_html(parser, "the curve, and recordings missed and false alarms to listen to, each beside the nearest "
                     "enrolled clip")
    command.add_channel(parser)
    command.add_hop(parser)
    group = parser.add_argument_group("draws", "Instead of WORDS, for an average over what is enrolled.")
    group.add_argument("--enroll_from", type=Path, metavar="DIR", help="folder of a folder a word to draw clips from")
    group.add_argument("--shots", type=values.count, default=10, help="clips of each word a draw (default: 10)")
    group.add_argument("--draws", type=values.count, default=20, help="(default: 20)")
    group.add_argument("--rates", type=values.positive, nargs="+", metavar="RATE",
                       help="false alarms an hour of the table (default: 0.1 0.5 1 2)")
    add_encoder(parser, "the one that WORDS was enrolled with, or the shipped one")
    return values.parse(parser, argv)


def main(args: argparse.Namespace) -> int:
    # Flags, words, encoder.
    check_flags(args)
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
    notes = doubts(args, tested, embedder, stretches, files, len(negatives))
    opened = opener(files, noise, args.channel)

    # The search. Of a draw's words, as of find's, the best in one place counts.
    every, together, remarks = [word for one in tested for word in one.words], len(tested[0].words), Remarks()
    background = hear(((path, opened(i)) for i, path in enumerate(negatives)), embedder, every, hop, "--negatives",
                      warn, together, remarks)
    best, at = best_scores([(positive[1], opened(i)) for i, positive in enumerate(positives, len(negatives))],
                           embedder, every, hop, together, remarks)
    for line in remarks.lines(every):
        warn(line)

    # What was found.
    outcome = Outcome(tested, positives, best, at, background, embedder, notes)
    printed = report(args, outcome)
    if args.html:
        write_html(args, outcome, printed, opener(files, noise, args.channel, lambda _: None))
    return 0


def check_flags(args: argparse.Namespace) -> None:
    """Raise UserError for flags that contradict, or outputs that cannot be written."""
    if (args.noise is None) != (args.snr is None):
        raise UserError("--noise and --snr belong together: a folder of noise, and decibels such as 10")
    if (args.words is None) == (args.enroll_from is None):
        raise UserError("WORDS and --enroll_from: give the file of words, or recordings to draw words from")
    check_html(args)
    for ending in (".json", ".png") if args.out else ():
        command.check_kept("--out", Path(f"{args.out}{ending}"), [args.positives, *filter(None, [args.words])])
        check_output(Path(f"{args.out}{ending}"))


def draw_words(args, embedder, hop):
    """--draws times, --shots clips of each word of --enroll_from, with the thresholds that they get by the cohort."""
    recorded = find_recordings(args.enroll_from, embedder.facts.clip_seconds, warn, args.channel)
    whole_set = enrol(recorded, embedder, warn)
    for word in whole_set.words:
        if len(word.clips) < args.shots:
            raise UserError(f"--shots {args.shots}: {args.enroll_from} has {len(word.clips)} usable clips of "
                            f"{word.name!r}; ask for fewer, or record more")
        if line := few_draws({word.name: len(word.clips)}, args.shots, args.draws):
            warn(f"warning: {line}")
    drawn, cohort = [], embedder.cohort
    for i in range(args.draws):
        words = []
        for w, word in enumerate(whole_set.words):
            rows = np.random.default_rng([args.seed, i, w]).permutation(len(word.clips))[:args.shots]
            words.append(replace(word, clips=[word.clips[r] for r in rows]))
        drawn.append(Words(embedder.facts, words, cohort=cohort and cohort.digest))
        if cohort:
            by_cohort(words, cohort, cohort, command.FA_PER_HOUR, hop / SAMPLE_RATE, embedder.facts.heard_seconds)
    return drawn


def doubts(args, tested, embedder, stretches, files, negatives: int) -> list[str]:
    """Why errors may look rarer than they are, which is told; the first of ``files`` are so many negatives."""
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
    for line in notes:
        warn(f"warning: {line}")
    return notes


def opener(files, noise, channel, say=warn):
    """A function that opens the recording of a number, with noise if there is any."""
    def opened(number):
        def again():
            path, start, end = files[number]
            return open_file(path, say, start, end, channel=channel)
        return noise.added_to(number, again) if noise else again()

    return opened


def best_scores(sounds, embedder, words, hop, together, remarks):
    """(N, W) of every recording, named and open, the highest score of each word, -inf where there is no sound or other
    words are better everywhere; and where it, or the best of those beaten, is, in seconds. See `search`."""
    best, at = np.full((len(sounds), len(words)), -np.inf), np.zeros((len(sounds), len(words)))
    for i, (name, sound) in enumerate(tqdm(sounds, desc="positives", disable=None, leave=False)):
        heard, highest = Heard(), {}
        for word, hit in search(sound, embedder, words, hop, heard, together=together):
            rank = np.isfinite(hit.above), hit.score
            if rank > highest.get(word, (False, -np.inf)):
                highest[word], at[i, word] = rank, hit.start
                best[i, word] = hit.score if rank[0] else -np.inf
        remarks.add(name, heard)
    return best, at


def report(args, outcome) -> dict:
    """Print the table; write JSON and curve. Returns what was printed, the curve, and what the JSON holds."""
    tested, scores, background = outcome.tested, outcome.scores(), outcome.background
    rates, hours, names, facts = args.rates or tradeoff.RATES, background.hours, tested[0].names, outcome.embedder.facts
    line = (f"{len(outcome.positives)} recordings of {len(names)} words; {hours:.2f} h without them; encoder {facts}"
            + (f"; noise at {args.snr:g} dB" if args.noise else ""))
    print(line)
    results = tradeoff.figures(scores, outcome.thresholds(), rates, background.file_hours)
    cells = tradeoff.table(results)
    command.print_table(cells)
    content = {"hours": hours, "silent_hours": background.silent, "negatives": background.files,
               "recordings": {name: int((outcome.labels == name).sum()) for name in names},
               "encoder": vars(facts), "hop": facts.hop_samples(args.hop) / SAMPLE_RATE,
               "noise": args.noise and str(args.noise), "snr": args.snr,
               "seed": args.seed, "draws": len(tested),
               "shots": args.shots if args.enroll_from else None, "results": results,
               "command": args.command}
    title = str(args.words or f"{args.shots} clips of {args.enroll_from}, the first of {len(tested)} draws")
    curve = tradeoff.draw(scores[0], hours, title) if args.out or args.html else b""
    if args.out:
        with write_atomically(f"{args.out}.json") as file:
            file.write(to_json(content) + "\n")
        with write_atomically(f"{args.out}.png", "wb") as file:
            file.write(curve)
        print(f"wrote {args.out}.json and .png")
    return {"line": line, "cells": cells, "curve": curve, "title": title, "content": content}


def write_html(args, outcome, printed, opened) -> None:
    """The page of --html: of several draws, with the mistakes of the first."""
    words, hours = outcome.tested[0].words, outcome.background.hours
    if args.words:
        thresholds, where = [word.threshold for word in words], f"the thresholds in {args.words}"
    else:
        rate = min((rate for rate in args.rates or RATES if allowed(rate, hours)), default=0.0)
        thresholds = [lowest(outcome.background.scores[i], allowed(rate, hours)) for i in range(len(words))]
        where = (f"the first of {len(outcome.tested)} draws at each word's lowest threshold that "
                 + (f"keeps {rate:g} false alarms an hour" if rate else "has no false alarm"))
    write_page(args.html, page_of_score(outcome, printed, thresholds, where, opened, args.words), args.html_mb)


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
