"""How good a spotter is: recordings of the words missed, against false alarms an hour in recordings without them.

    python -m spotting.score words.json --positives said --negatives LibriSpeech --noise noise --snr 10 --out score

Or over several draws of the clips to enrol, for figures that do not hang on one choice:

    python -m spotting.score --enroll_from clips --shots 10 --draws 20 --positives said --negatives LibriSpeech
"""

import argparse
import math
import os
import shlex
import sys
from pathlib import Path

from data.base.errors import UserError, exit_cleanly
from data.labels import look_alike
from models.runs.options.testing import add_html
from models.runs.values import count, decibels, positive, whole
from spotting.command import FA_PER_HOUR, add_hop, check_kept, check_output, hop_samples, print_table, warn
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
    group.add_argument("--shots", type=count, default=10, help="clips of each word a draw (default: 10)")
    group.add_argument("--draws", type=count, default=20, help="(default: 20)")
    group.add_argument("--rates", type=positive, nargs="+", metavar="RATE",
                       help="false alarms an hour of the table (default: 0.1 0.5 1 2)")
    add_encoder(parser, "the one that WORDS was enrolled with, or the shipped one")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    import numpy as np

    from models.evaluation.page.page import check_html
    from spotting.detection.thresholds import about_silence, hear
    from spotting.encoders.gather import trained_on
    from spotting.sound.blocks import files_of, open_file
    from spotting.sound.noise import Noise, check_noise
    from spotting.sound.repeats import without_repeats
    from spotting.words.words_file import read_words, suited

    check_flags(args)
    check_noise(args.noise, args.snr)
    check_html(args)
    if (args.words is None) == (args.enroll_from is None):
        raise UserError("WORDS and --enroll_from: give the file of words, or recordings to draw words from")
    words = read_words(args.words) if args.words else None
    negatives = files_of(args.negatives, "--negatives")
    said = find_positives(args.positives)
    for ending in (".json", ".png") if args.out else ():
        check_kept("--out", Path(f"{args.out}{ending}"), [args.positives, *filter(None, [args.words])])
        check_output(Path(f"{args.out}{ending}"))
    noise = Noise(args.noise, args.snr, args.seed) if args.noise else None
    embedder = load(args, words.encoder if words else None)
    if words:
        embedder = suited(words, embedder, args.words)
        tested = [words]
    else:
        tested = draw_words(args, embedder)
    hop, clip_seconds = hop_samples(args.hop, embedder.facts.clip_seconds), embedder.facts.clip_seconds
    said, stretches = leave_out_enrolled(said, tested, clip_seconds)
    negatives = without_repeats(negatives, "--negatives", warn,
                                [path for _, path, *_ in said] +
                                [clip.file for one in tested for word in one.words for clip in word.clips],
                                "are recordings of the words, tested or enrolled")
    notes = copied(stretches, tested, embedder)
    if words and (both := set(words.calibration.get("background", ())) & set(negatives)):
        notes.append(f"{len(both)} of the negatives, such as {min(both)}, set the thresholds of {args.words}: at "
                     "these, false alarms look rarer than they are")
        warn(f"warning: {notes[-1]}")
    trained = trained_on(embedder.facts)
    if heard := [path for path in negatives if os.path.realpath(path) in trained]:
        notes.append(f"{len(heard)} of the negatives, such as {heard[0]}, are recordings that the encoder was trained "
                     "on: at these, false alarms look rarer than they are")
        warn(f"warning: {notes[-1]}")
    files = [*((path, 0.0, None) for path in negatives), *(entry[1:] for entry in said)]

    def opened(number, say=warn):
        def again():
            path, start, end = files[number]
            return open_file(path, say, start, end)
        return noise.added_to(number, again) if noise else again()

    every = [word for one in tested for word in one.words]
    background = hear(((path, opened(i)) for i, path in enumerate(negatives)), embedder, every, hop, "negatives")
    for line in about_silence(background, "--negatives"):
        warn(line)
    best, at = best_scores((opened(len(negatives) + i) for i in range(len(said))), embedder, every, hop, len(said))
    if mute := [entry[1] for entry, row in zip(said, best, strict=True) if not np.isfinite(row).any()]:
        warn(f"warning: {len(mute)} recordings of words, such as {mute[0]}, have nothing above -60 dB of full scale; "
             "too quiet to hear a word in, they count as missed")
    printed = report(args, tested, [label for label, *_ in said], best, background, embedder.facts)
    if args.html:
        write_html(args, tested, said, best, at, background, embedder, lambda i: opened(i, lambda _: None), printed,
                   notes)
    return 0


def find_positives(path: Path) -> list[tuple[str, str, float, float | None]]:
    """(word, file, start, end) of recordings of words; a manifest's stretches with half a second on both sides."""
    if not path.exists():
        raise UserError(f"--positives {path}: no such folder or manifest; check the name")
    if path.is_dir():
        from data.folder.find_words import find_words

        return [(word, file, 0.0, None) for word, file in find_words(path).files]
    from data.manifests import read_manifest

    manifest = read_manifest(path)
    entries = (manifest[i] for i in range(len(manifest)))
    return [(u.label, u.path, max(0.0, u.offset - 0.5), u.offset + u.duration + 0.5) for u in entries]


def leave_out_enrolled(said, tested, clip_seconds):
    """Recordings of the words tested that were not enrolled themselves, each once; and the stretches that were heard.

    Raises:
        UserError: none of some word, or none at all.
    """
    from data.folder.word_stretch import examine

    names = {word.name for words in tested for word in words.words}
    enrolled = {clip.sha1 for words in tested for word in words.words for clip in word.clips}
    files = {os.path.realpath(clip.file) for words in tested for word in words.words for clip in word.clips}
    kept, stretches, same, broken, repeats, seen = [], [], [], [], [], {}
    for entry in (entry for entry in said if entry[0] in names):
        heard = examine(([entry[1]], clip_seconds))[0] if entry[3] is None else None
        if isinstance(heard, str):
            broken.append(heard)
        elif os.path.realpath(entry[1]) in files or (heard and heard.digest in enrolled):
            same.append(entry[1])
        elif (first := seen.setdefault(_identity(entry, heard), entry)) is not entry:
            repeats.append(f"{entry[1]} ({first[1]})")
        else:
            kept.append(entry)
            stretches += [heard] if heard else []
    if others := sorted({entry[0] for entry in said} - names):
        count = sum(entry[0] not in names for entry in said)
        warn(f"left out {count} recordings of {', '.join(map(repr, others[:8]))}"
             + (f" and {len(others) - 8} more" if len(others) > 8 else "") + ", which are not enrolled")
    for line in look_alike({*names, *others}):
        warn(f"warning: {line}")
    if same:
        warn(f"left out {len(same)} recordings that are enrolled, such as {same[0]}")
    if repeats:
        warn(f"left out {len(repeats)} recordings that repeat another, such as {repeats[0]}")
    for reason in broken[:5]:
        warn(f"left out {reason}")
    if len(broken) > 5:
        warn(f"left out {len(broken) - 5} more that cannot be used")
    if lacking := sorted(names - {label for label, *_ in kept}):
        raise UserError(f"--positives: no recording of {', '.join(map(repr, lacking))} that can be tested; its folders "
                        f"or labels are {', '.join(map(repr, sorted({label for label, *_ in said})[:8]))}")
    return kept, stretches


def _identity(entry, heard) -> tuple:
    """What recordings of one word that are the same share: their sound, or their place in a file."""
    label, path, *stretch = entry
    return (label, heard.digest) if heard else (label, os.path.realpath(path), *stretch)


def copied(stretches, tested, embedder) -> list[str]:
    """A line, which is told, on recordings that seem to be copies of enrolled ones; none if there are none."""
    import numpy as np

    from data.decoding import decode, fit
    from spotting.words.copies import same_sound
    from spotting.words.words_file import Clip

    clips = [Clip(s.path, s.offset, s.duration, s.digest, embedder(fit(
        decode(s.path, s.offset, s.duration), embedder.facts.clip_samples)[np.newaxis])) for s in stretches]
    enrolled = list({clip.sha1: clip for words in tested for word in words.words for clip in word.clips}.values())
    found = same_sound(clips, enrolled)
    lines = [f"{len(found)} of the recordings of words seem to be copies of enrolled ones, such as "
             f"{clips[found[0][0]].file} of {enrolled[found[0][1]].file}: misses look rarer than they are"] if found \
        else []
    for line in lines:
        warn(f"warning: {line}")
    return lines


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


def best_scores(sounds, embedder, words, hop, total):
    """(N, W) of every recording the highest score of each word, -inf where there is no sound, and where, in seconds."""
    import numpy as np
    from tqdm import tqdm

    from spotting.hits.match import hit_of
    from spotting.hits.search import search

    best, at = np.full((total, len(words)), -np.inf), np.zeros((total, len(words)))
    for i, sound in enumerate(tqdm(sounds, total=total, desc="positives", disable=None, leave=False)):
        for peak in search(sound, embedder, words, hop):
            if peak.score > best[i, peak.word]:
                best[i, peak.word], at[i, peak.word] = peak.score, hit_of(peak, words[peak.word], hop).start
    return best, at


def report(args, tested, labels, best, background, facts) -> dict:
    """Print the table; write JSON and curve. Returns the printed line and cells, the curve, and what the JSON holds."""
    import numpy as np

    from data.base.files import write_atomically
    from models.evaluation.report import to_json
    from spotting.detection import tradeoff

    rates, hours, names = args.rates or tradeoff.RATES, background.hours, tested[0].names
    labels = np.array(labels)
    scores = []  # of each draw: name to (said, alarms); together, each score less the word's own threshold
    for d, words in enumerate(tested):
        one = {word.name: (best[labels == word.name, d * len(names) + i], background.scores[d * len(names) + i])
               for i, word in enumerate(words.words)}
        if len(names) > 1:
            moved = [(said - word.threshold, alarms - word.threshold)
                     for word, (said, alarms) in zip(words.words, one.values(), strict=True)]
            one[tradeoff.TOGETHER] = (np.concatenate([said for said, _ in moved]),
                                      -np.sort(-np.concatenate([alarms for _, alarms in moved])))
        scores.append(one)
    line = (f"{len(labels)} recordings of {len(names)} words; {hours:.2f} h without them; encoder {facts}"
            + (f"; noise at {args.snr:g} dB" if args.noise else ""))
    print(line)
    if len(tested) == 1:
        points = [(name, tradeoff.at_threshold(said, alarms, 0.0 if name == tradeoff.TOGETHER else
                                               tested[0].words[i].threshold)) for i, (name, (said, alarms))
                  in enumerate(scores[0].items())]
        points += [(name, tradeoff.at_rate(*pair, rate, hours)) for name, pair in scores[0].items() for rate in rates]
        points.sort(key=lambda pair: list(scores[0]).index(pair[0]))
        cells = tradeoff.table(points, hours)
        results = [{"word": name} | point.to_json(hours) for name, point in points]
    else:
        kept = [{word.name: word.threshold for word in words.words} | {tradeoff.TOGETHER: 0.0} for words in tested]
        results = over_draws(scores, rates, hours, kept if tested[0].cohort else None)
        cells = [("word", "wanted/h", "an hour (95 %)", "miss rate, mean ± standard deviation over draws (95 %)",
                  "least", "most"), *map(cells_of, results)]
    print_table(cells)
    content = {"hours": hours, "silent_hours": background.silent, "negatives": background.files,
               "recordings": {n: int((labels == n).sum()) for n in names},
               "encoder": facts.to_json(), "hop": args.hop, "noise": args.noise and str(args.noise),
               "snr": args.snr, "seed": args.seed, "draws": len(tested),
               "shots": args.shots if args.enroll_from else None, "results": results,
               "command": shlex.join(["python", "-m", "spotting.score", *sys.argv[1:]])}
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
    from models.evaluation.page.page import write_page
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


def over_draws(scores, rates, hours, thresholds) -> list[dict]:
    """Of each word and rate, the miss rates over the draws; and at the thresholds that enrolling sets by the cohort.

    Draws share the recordings, so the intervals are those of one draw with the mean counts.
    """
    import numpy as np

    from spotting.detection.intervals import of_rate, of_share
    from spotting.detection.tradeoff import at_rate, at_threshold

    results = []
    for name in scores[0]:
        for rate in ([None] if thresholds else []) + list(rates):
            points = [at_rate(*one[name], rate, hours) if rate else at_threshold(*one[name], thresholds[i][name])
                      for i, one in enumerate(scores)]
            value = {"word": name, "fa_per_hour_wanted": rate, "claimed": points[0].threshold is not None}
            if value["claimed"]:
                missed, said = np.array([point.missed for point in points]), points[0].said
                alarms = np.array([point.alarms for point in points])
                value |= {"miss_rate_mean": float(missed.mean()) / said,
                          "miss_rate_std": float(missed.std(ddof=1)) / said,
                          "miss_rate_min": float(missed.min()) / said, "miss_rate_max": float(missed.max()) / said,
                          "miss_rate_95": of_share(round(missed.mean()), said), "recordings": said,
                          "fa_per_hour_mean": float(alarms.mean()) / hours,
                          "fa_per_hour_95": of_rate(round(alarms.mean()), hours),
                          "false_alarms_max": int(alarms.max())}
            else:
                value["hours_needed"] = 1 / rate
            results.append(value)
    return results


def cells_of(result: dict) -> tuple[str, ...]:
    """A row of the table over draws."""
    wanted = "enrolled" if result["fa_per_hour_wanted"] is None else f"{result['fa_per_hour_wanted']:g}"
    if not result["claimed"]:
        return result["word"], wanted, f"not claimed: needs {result['hours_needed']:.3g} h", "-", "-", "-"
    mean, spread, least, most = (100 * result[f"miss_rate_{of}"] for of in ("mean", "std", "min", "max"))
    low, high = result["fa_per_hour_95"]
    below, above = (100 * share for share in result["miss_rate_95"])
    return (result["word"], wanted, f"{result['fa_per_hour_mean']:.2f} ({low:.2f}-{high:.2f})",
            f"{mean:.1f} ± {spread:.1f} % ({below:.1f}-{above:.1f})", f"{least:.1f}", f"{most:.1f}")


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
