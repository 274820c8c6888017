"""The page of `spotting.score`: what was missed, what was a false alarm, and the enrolled clip it was most like."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import NamedTuple

import numpy as np

from data.audio.decoding import SAMPLE_RATE, decode, fit
from data.base.files import file_digest
from data.folder.word_stretch import examine
from models.report.page.origin import as_text
from models.report.page.parts import Clip, Matrix, Mistake, Page, Table, named
from spotting.detection.tradeoff import Outcome
from spotting.sound.blocks import Sound
from spotting.words.words_file import Clip as Enrolled
from spotting.words.words_file import Word

MOST = 300  # of a word's false alarms, the highest, that are heard again for the page
LONGEST = 6.0  # seconds of a recording that are played; of a longer one, those around the place most like the word
AROUND = 0.5  # seconds that are played before and after a false alarm
FOUND, MISSED, ALARM = range(3)
COLUMNS = {FOUND: "found", MISSED: "missed", ALARM: "false alarm"}


class Place(NamedTuple):
    """Where a recording is most like a word: ``kind`` of `COLUMNS`, ``number`` of the recording, ``start`` of the word
    in seconds from where the recording is opened."""

    word: int
    kind: int
    score: float
    number: int
    file: str
    start: float


def places_of(outcome: Outcome, thresholds: Sequence[float]) -> tuple[list[Place], Counter]:
    """Recordings of the words that are missed, the lowest score first, and each word's highest false alarms; and by
    word and kind how many there are in all."""
    words, background, places, counts = outcome.tested[0].words, outcome.background, [], Counter()
    index = {word.name: w for w, word in enumerate(words)}
    for n, (label, file, *_) in enumerate(outcome.positives):
        w = index[label]
        kind = MISSED if outcome.best[n, w] < thresholds[w] else FOUND
        counts[w, kind] += 1
        if kind == MISSED:
            places.append(Place(w, kind, float(outcome.best[n, w]), len(background.files) + n, file,
                                float(outcome.at[n, w])))
    for w, threshold in enumerate(thresholds):
        counts[w, ALARM] = int((background.scores[w] >= threshold).sum())
        for i in range(min(MOST, counts[w, ALARM])):
            number = int(background.file[w][i])
            places.append(Place(w, ALARM, float(background.scores[w][i]), number, background.files[number],
                                float(background.start[w][i])))
    return sorted(places, key=lambda place: place.score if place.kind == MISSED else -place.score), +counts


def mistakes_of(places: Sequence[Place], outcome: Outcome, thresholds: Sequence[float],
                opened: Callable[[int], Sound]) -> list[Mistake]:
    """What was missed or falsely found, each beside the enrolled clip that it is most like; each recording is read
    once."""
    words, clip_samples = outcome.tested[0].words, outcome.embedder.facts.clip_samples
    enrolled = cache(lambda w, i: enrolled_clip(words[w].clips[i], words[w].name, clip_samples / SAMPLE_RATE))
    by_recording, mistakes = defaultdict(list), {}
    for place in places:
        by_recording[place.number].append(place)
    for number, inside in by_recording.items():
        whole = np.concatenate([np.zeros(0, np.int16), *opened(number).blocks])
        for place in inside:
            word = words[place.word]
            first, samples, windows = stretch_of(place, word, whole, clip_samples)
            embedded = outcome.embedder(windows)
            similar = np.array([float((embedded * clip.embedding).sum(1).mean()) for clip in word.clips])
            nearest = int(similar.argmax())
            score = (place.score, f"{place.score:.3f}") if np.isfinite(place.score) else (-9.0, "none")
            values = score, *((value, f"{value:.3f}") for value in (thresholds[place.word], similar[nearest]))
            lines = (place.file, f"most like the word at {place.start:.2f} s; played from {first:.2f} s, "
                                 f"{len(samples) / SAMPLE_RATE:.2f} s")
            clip = Clip(lines, lambda samples=samples: samples, (number, first, place.word, place.kind))
            mistakes[place] = Mistake(place.word, place.kind, values, clip, enrolled(place.word, nearest))
    return [mistakes[place] for place in places]


def stretch_of(place: Place, word: Word, whole: np.ndarray, clip_samples: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Of a recording what is played: its beginning, in seconds, and its samples; and the (K, S) windows in it that are
    compared with the enrolled clips."""
    window = max(0.0, place.start - word.start)
    end = window + (word.windows - 1) * word.spacing + clip_samples / SAMPLE_RATE
    first, last = max(0.0, window - AROUND), end + AROUND
    if place.kind == MISSED:
        first = max(0.0, (window + end - LONGEST) / 2)
        last = max(first + LONGEST, end)
    samples = whole[round(first * SAMPLE_RATE):round(last * SAMPLE_RATE)].copy()
    starts = [round((window - first + k * word.spacing) * SAMPLE_RATE) for k in range(word.windows)]
    return first, samples, np.stack([fit(samples[start:start + clip_samples], clip_samples) for start in starts])


def page_of_score(outcome: Outcome, printed: dict, thresholds: Sequence[float], where: str,
                  opened: Callable[[int], Sound], words_path: str | None) -> Page:
    """A page of the figures that `spotting.score` printed.

    Args:
        printed: its title, line, cells with their headings in the first row, curve and JSON.
        thresholds: (W,) those that the mistakes are of, and ``where`` says which.
        opened: a recording by number, with its noise.
    """
    places, counts = places_of(outcome, thresholds)
    names = dict(enumerate(outcome.tested[0].names))
    caption = (f"Recordings of each word found and missed, and its false alarms in {outcome.background.hours:.2f} h: "
               f"{where}")
    return Page(
        f"Misses and false alarms: {printed['title']}", printed["line"], [],
        {"clip": "recording", "row": "word", "column": "mistake",
         "values": ["score", "threshold", "nearest, similarity"], "nearest": "nearest enrolled clip"}, names, COLUMNS,
        Matrix("Found, missed, false alarms", caption, dict(counts), dict.fromkeys(names, FOUND),
               (list(names), list(COLUMNS))),
        mistakes_of(places, outcome, thresholds, opened),
        origin_of_score(printed["content"], words_path, [file for _, file, *_ in outcome.positives]), outcome.notes,
        [Table("Misses against false alarms an hour", printed["cells"])],
        named({"curve": printed["curve"]}),
        f"The mistakes are those of {where}. The nearest enrolled clip is that of the word which the stretch "
        "found most like it resembles most.", "",
        {(w, kind): count - MOST for (w, kind), count in counts.items() if kind == ALARM and count > MOST})


def enrolled_clip(clip: Enrolled, label: str, clip_seconds: float) -> Clip:
    """An enrolled clip, if its recording is where it was and is what it was."""
    heard = examine([clip.file], clip_seconds, clip.channel)[0]
    lines, key = (clip.file, f"from {clip.offset:.2f} s, {clip.seconds:.2f} s"), ("enrolled", clip.file, clip.offset)
    if isinstance(heard, str):
        return Clip(lines, f"cannot be heard: {heard}", key, label)
    if heard.digest != clip.sha1:
        return Clip(lines, f"cannot be heard: {clip.file} has changed since it was enrolled", key, label)
    samples = decode(clip.file, clip.offset, clip.seconds, channel=clip.channel)
    return Clip(lines, lambda: samples, key, label)


def origin_of_score(content: dict, words_path: str | None, positives: Sequence[str]) -> list[tuple[str, str]]:
    """Names and values for the page's last section, from what the JSON of `spotting.score` holds."""
    encoder = content["encoder"]
    rows = [("made", datetime.now().astimezone().isoformat(" ", "seconds")), ("command", content["command"]),
            ("encoder", f"run {encoder['run']}, {encoder['model']}, step {encoder['step']}: {encoder['path']} "
                        f"(SHA-256 {encoder['sha256']})")]
    if words_path:
        rows.append(("words", f"{words_path} (SHA-256 {file_digest(words_path)})"))
    for name, files in (("recordings of the words", positives), ("recordings without them", content["negatives"])):
        rows.append((name, f"{len(files):,} files; {as_text(list(files))}"))
    more = ("recordings", "hours", "hop", "noise", "snr", "seed", "draws", "shots")
    return rows + [(name, as_text(content[name])) for name in more if content[name] is not None]
