"""How good a spotter is: recordings of the words missed, against false alarms an hour in recordings without them.

    python -m spotting.score words.json --positives said --negatives LibriSpeech --noise noise --snr 10 --out score

Or over several draws of the clips to enrol, for figures that do not hang on one choice:

    python -m spotting.score --enroll_from clips --shots 10 --draws 20 --positives said --negatives LibriSpeech

Intervals are of 95 %. They allow for thresholds that are chosen on the same recordings. They take recordings as
independent: where few people speak, the truth may lie further off.
"""

import argparse
import math
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from data.base.errors import UserError, exit_cleanly
from data.base.values import count, decibels, positive, whole
from models.runs.options.testing import add_html
from spotting.command import FA_PER_HOUR, add_hop, check_kept, check_output, hop_samples, print_table, tell_hop, warn
from spotting.encoders.load import add_encoder, check_flags, load


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m spotting.score", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", type=Path, nargs="?", metavar="WORDS", help="the file that spotting.enroll wrote")
    parser.add_argument("--positives", type=Path, required=True, metavar="DIR|MANIFEST",
                        help="recordings of the words: a folder of a folder a word, or a JSON-lines manifest")
    parser.add_argument("--negatives", type=Path, nargs="+", required=True, metavar="PATH",
                        help="recordings without the words, and folders of such")
    parser.add_argument("--noise", type=Path, metavar="DIR", help="noise to add to all of them (default: none)")
    parser.add_argument("--snr", type=decibels, metavar="DB", help="its ratio, of speech to noise, in decibels")
    parser.add_argument("--seed", type=whole, default=0, help="of the noise and of --draws (default: 0)")
    parser.add_argument("--out", type=Path, metavar="STEM", help="write STEM.json and STEM.png, the curve")
    add_html(parser, "the curve, a map of the embeddings, and recordings missed and false alarms to listen to, each "
                     "beside the nearest enrolled clip")
    add_hop(parser)
    group = parser.add_argument_group("draws", "Instead of WORDS, for an average over what is enrolled.")
    group.add_argument("--enroll_from", type=Path, metavar="DIR", help="folder of a folder a word to draw clips from")
    group.add_argument("--shots", type=count, help="clips of each word a draw (default: 10)")
    group.add_argument("--draws", type=count, help="(default: 20)")
    group.add_argument("--rates", type=positive, nargs="+", metavar="RATE",
                       help="false alarms an hour of the table (default: 0.1 0.5 1 2)")
    add_encoder(parser, "the one that WORDS was enrolled with, or the shipped one")
    args = parser.parse_args(argv)
    args.command = f"{parser.prog} {shlex.join(sys.argv[1:] if argv is None else argv)}"
    return args


def main(args: argparse.Namespace) -> int:
    import numpy as np

    from models.enrolment.kept_cohort import tell_learnt
    from models.report.page.page import check_html
    from spotting.detection.thresholds import about_silence, hear
    from spotting.encoders.gather import heard_in_training
    from spotting.sound.band import about_band
    from spotting.sound.blocks import files_of, open_file
    from spotting.sound.noise import Noise, check_noise
    from spotting.sound.repeats import without_repeats
    from spotting.words.positives import copied, find_positives, heard_with, leave_out_enrolled
    from spotting.words.words_file import read_words, suited

    check_flags(args)
    check_noise(args.noise, args.snr)
    check_html(args)
    if (args.words is None) == (args.enroll_from is None):
        raise UserError("WORDS and --enroll_from: give the file of words, or recordings to draw words from")
    for flag, value in (("shots", 10), ("draws", 20)):
        if args.words and getattr(args, flag) is not None:
            raise UserError(f"--{flag} is about drawing clips of --enroll_from, and {args.words} is enrolled; leave "
                            "one of them out")
        setattr(args, flag, getattr(args, flag) or value)
    words = read_words(args.words) if args.words else None
    negatives = files_of(args.negatives, "--negatives", warn)
    said = find_positives(args.positives)
    for ending in (".json", ".png") if args.out else ():
        check_kept("--out", Path(f"{args.out}{ending}"), [args.positives, *filter(None, [args.words])])
        check_output(Path(f"{args.out}{ending}"))
    noise = Noise(args.noise, args.snr, args.seed, warn) if args.noise else None
    embedder = load(args, words.encoder if words else None)
    hop, clip_seconds = hop_samples(args.hop, embedder.facts.clip_seconds), embedder.facts.clip_seconds
    if words:
        embedder = suited(words, embedder, args.words)
        tested = [words]
        tell_hop(args.words, words.calibration, args.hop)
    else:
        tested = draw_words(args, embedder)
    said, stretches = leave_out_enrolled(said, tested, clip_seconds, warn)
    negatives = without_repeats(negatives, "--negatives", warn,
                                [path for _, path, *_ in said] +
                                [clip.file for one in tested for word in one.words for clip in word.clips],
                                "are recordings of the words, tested or enrolled")
    notes = [line for line in [copied(stretches, tested, embedder)] if line]
    if words and (both := set(words.calibration.get("background", ())) & set(negatives)):
        notes.append(f"{len(both)} of the negatives, such as {min(both)}, set the thresholds of {args.words}: at "
                     "these, false alarms look rarer than they are")
    files = [*((path, 0.0, None) for path in negatives), *map(heard_with, said)]
    unknown, heard = heard_in_training(embedder.facts, {"negatives": files[:len(negatives)],
                                                        "recordings of words": files[len(negatives):]})
    if unknown:
        warn(unknown)
    notes += [*heard, *(tell_learnt(embedder.cohort.learnt_from(tested[0].names)) if embedder.cohort else [])]
    for line in notes:
        warn(f"warning: {line}")

    def opened(number, say=warn):
        def again():
            path, start, end = files[number]
            return open_file(path, say, start, end)
        return noise.added_to(number, again) if noise else again()

    every = [word for one in tested for word in one.words]
    together = len(tested[0].words)  # of a draw's words, as of find's, the best in one place counts
    background = hear(((path, opened(i)) for i, path in enumerate(negatives)), embedder, every, hop, "negatives",
                      together)
    for line in about_silence(background, "--negatives"):
        warn(line)
    best, at, narrow = best_scores((opened(len(negatives) + i) for i in range(len(said))), embedder, every, hop,
                                   len(said), together)
    for line in about_band([*(said[i][1] for i in narrow), *background.narrow], len(files), every):
        warn(line)
    if mute := [entry[1] for entry, row in zip(said, best, strict=True) if not np.isfinite(row).any()]:
        warn(f"warning: {len(mute)} recordings of words, such as {mute[0]}, have nothing above -60 dB of full scale; "
             "too quiet to hear a word in, they count as missed")
    printed = report(args, tested, [label for label, *_ in said], best, background, embedder.facts)
    if args.html:
        write_html(args, tested, said, best, at, background, embedder, lambda i: opened(i, lambda _: None), printed,
                   notes)
    return 0


def draw_words(args, embedder):
    """--draws times, --shots clips of each word of --enroll_from, with the thresholds that they get by the cohort."""
    import numpy as np

    from spotting.detection.thresholds import by_cohort
    from spotting.words.recordings import enrol, find_recordings
    from spotting.words.words_file import Word, Words

    whole_set = enrol(find_recordings(args.enroll_from, embedder.facts.clip_seconds, warn), embedder, warn)
    for word in whole_set.words:
        if len(word.clips) < args.shots:
            raise UserError(f"--shots {args.shots}: {args.enroll_from} has {len(word.clips)} usable clips of "
                            f"{word.name!r}; ask for fewer, or record more")
        if (ways := math.comb(len(word.clips), args.shots)) < args.draws:
            warn(f"warning: {args.shots} of {len(word.clips)} clips of {word.name!r} can be drawn in {ways} "
                 f"way{'s' * (ways > 1)} only, so the deviation over {args.draws} draws says less than it seems")
    drawn = []
    for i in range(args.draws):
        rows = [np.random.default_rng([args.seed, i, w]).permutation(len(word.clips))[:args.shots]
                for w, word in enumerate(whole_set.words)]
        drawn.append(Words(embedder.facts, [Word(word.name, [word.clips[r] for r in row], word.spacing, word.start,
                                                 word.end, word.threshold)
                                            for word, row in zip(whole_set.words, rows, strict=True)]))
        if cohort := embedder.cohort:
            drawn[-1].cohort = cohort.digest
            by_cohort(drawn[-1].words, cohort, cohort, FA_PER_HOUR, args.hop, embedder.facts.clip_seconds)
    return drawn


def best_scores(sounds, embedder, words, hop, total, together):
    """(N, W) of every recording the highest score of each word, -inf where there is no sound or other words are better
    everywhere, and where it or the best of those beaten is, in seconds; and the numbers of those with nothing above
    4 kHz. ``together``: see `search`."""
    import numpy as np
    from tqdm import tqdm

    from spotting.hits.search import Heard, search

    narrow: list[int] = []
    best, at = np.full((total, len(words)), -np.inf), np.zeros((total, len(words)))
    beaten = best.copy()
    for i, sound in enumerate(tqdm(sounds, total=total, desc="positives", disable=None, leave=False)):
        heard = Heard()
        for word, hit in search(sound, embedder, words, hop, heard, together=together):
            if np.isfinite(hit.above) and hit.score > best[i, word]:
                best[i, word], at[i, word] = hit.score, hit.start
            elif not np.isfinite(best[i, word]) and hit.score > beaten[i, word]:
                beaten[i, word], at[i, word] = hit.score, hit.start
        narrow += [i] * heard.band.narrow
    return best, at, narrow


def report(args, tested, labels, best, background, facts) -> dict:
    """Print the table; write JSON and curve. Returns the printed line and cells, the curve, and what the JSON holds."""
    import numpy as np

    from data.base.files import write_atomically
    from models.report.tables import to_json
    from spotting.detection import tradeoff
    from spotting.detection.draws import cells_of, over_draws
    from spotting.detection.intervals import over_recordings

    rates, hours, names = args.rates or tradeoff.RATES, background.hours, tested[0].names
    labels = np.array(labels)
    scores = []  # of each draw: name to (said, alarms); together, each score less the word's own threshold
    files = []  # likewise, in which recording an alarm is
    for d, words in enumerate(tested):
        one = {word.name: (best[labels == word.name, d * len(names) + i], background.scores[d * len(names) + i])
               for i, word in enumerate(words.words)}
        of = {name: background.file[d * len(names) + i] for i, name in enumerate(names)}
        if len(names) > 1:
            moved = [(said - word.threshold, alarms - word.threshold)
                     for word, (said, alarms) in zip(words.words, one.values(), strict=True)]
            alarms = np.concatenate([alarms for _, alarms in moved])
            order = np.argsort(-alarms, kind="stable")
            of[tradeoff.TOGETHER] = np.concatenate(list(of.values()))[order]
            one[tradeoff.TOGETHER] = np.concatenate([said for said, _ in moved]), alarms[order]
        scores.append(one)
        files.append(of)
    line = (f"{len(labels)} recordings of {len(names)} words; {hours:.2f} h without them; encoder {facts}"
            + (f"; noise at {args.snr:g} dB" if args.noise else ""))
    print(line)
    if len(tested) == 1:
        points = [(name, tradeoff.at_threshold(said, alarms, 0.0 if name == tradeoff.TOGETHER else
                                               tested[0].words[i].threshold)) for i, (name, (said, alarms))
                  in enumerate(scores[0].items())]
        points += [(name, tradeoff.at_rate(*pair, rate, hours)) for name, pair in scores[0].items() for rate in rates]
        points.sort(key=lambda pair: list(scores[0]).index(pair[0]))
        points = [(name, point if point.threshold is None else replace(point, again=over_recordings(
            [(*scores[0][name], files[0][name], point.threshold)], background.file_hours, point.rate)))
            for name, point in points]
        cells = tradeoff.table(points, hours)
        results = [{"word": name} | point.to_json(hours) for name, point in points]
    else:
        kept = [{word.name: word.threshold for word in words.words} | {tradeoff.TOGETHER: 0.0} for words in tested]
        results = over_draws(scores, files, rates, background.file_hours, kept if tested[0].cohort else None)
        cells = [("word", "wanted/h", "an hour (95 %)", "miss rate, mean ± standard deviation over draws (95 %)",
                  "least", "most"), *map(cells_of, results)]
    print_table(cells)
    content = {"hours": hours, "silent_hours": background.silent, "negatives": background.files,
               "recordings": {n: int((labels == n).sum()) for n in names},
               "encoder": facts.to_json(), "hop": args.hop, "noise": args.noise and str(args.noise),
               "snr": args.snr, "seed": args.seed, "draws": len(tested),
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


def write_html(args, tested, said, best, at, background, embedder, opened, printed, notes) -> None:
    """The page of --html: of several draws, with the mistakes of the first."""
    from models.report.page.page import write_page
    from spotting.detection import page
    from spotting.detection.intervals import allowed
    from spotting.detection.thresholds import lowest
    from spotting.detection.tradeoff import RATES

    words, hours = tested[0].words, background.hours
    labels, files = [entry[0] for entry in said], [entry[1] for entry in said]
    if args.words:
        thresholds, where = [word.threshold for word in words], f"the thresholds in {args.words}"
    else:
        rate = min((rate for rate in args.rates or RATES if allowed(rate, hours)), default=0.0)
        thresholds = [lowest(background.scores[i], allowed(rate, hours)) for i in range(len(words))]
        where = (f"the first of {len(tested)} draws at each word's lowest threshold that "
                 + (f"keeps {rate:g} false alarms an hour" if rate else "has no false alarm"))
    places = page.places_of(words, thresholds, labels, files, best, at, background)
    origin = page.origin_of_score(printed["content"], args.words, files)
    write_page(args.html, page.page_of_score(
        f"Misses and false alarms: {printed['title']}", printed["line"], printed["cells"], printed["curve"], words,
        thresholds, where, places, opened, embedder, hours, origin, notes), args.html_mb)


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
