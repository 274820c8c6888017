"""The page of `spotting.score`: what was missed, what was a false alarm, and the enrolled clip it was most like."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import numpy as np

from data.audio.decoding import SAMPLE_RATE, decode, fit
from data.base.files import file_digest
from models.report.page.origin import as_text
from models.report.page.parts import Clip, Matrix, Mistake, Page, Table, named
from spotting.detection.outcome import Outcome
from spotting.sound.blocks import Sound
from spotting.words.words_file import Clip as Enrolled
from spotting.words.words_file import Word

MOST = 300  # of a word's false alarms, the highest, that are heard again for the page
LONGEST = 6.0  # seconds of a recording that are played; of a longer one, those around the place most like the word
AROUND = 0.5  # seconds that are played before and after a false alarm
FOUND, MISSED, ALARM = range(3)
COLUMNS = {FOUND: "found", MISSED: "missed", ALARM: "false alarm"}


@dataclass
class Place:
    """Where a recording is most like a word: to be heard again.

    Attributes:
        word, kind: the word's index; of `COLUMNS`.
        score: what the search gave it; -inf where it found no sound.
        number, file: of the recording, as `opened` numbers them; its name.
        start: of the word, in seconds from where the recording is opened.
        samples, first: what is to be played, int16 at 16 kHz, and its beginning, in seconds likewise.
        windows: (K, S) int16, what was compared with the enrolled clips.
    """

    word: int
    kind: int
    score: float
    number: int
    file: str
    start: float
    samples: np.ndarray | None = None
    first: float = 0.0
    windows: np.ndarray | None = None


def places_of(outcome: Outcome, thresholds: Sequence[float]) -> list[Place]:
    """All recordings of the words, those missed first by score, and all false alarms; (W,) ``thresholds``."""
    words, background, found = outcome.tested[0].words, outcome.background, []
    index = {word.name: i for i, word in enumerate(words)}
    for n, (label, file, *_) in enumerate(outcome.positives):
        w = index[label]
        kind = MISSED if outcome.best[n, w] < thresholds[w] else FOUND
        found.append(Place(w, kind, float(outcome.best[n, w]), len(background.files) + n, file,
                           float(outcome.at[n, w])))
    for w, threshold in enumerate(thresholds):
        for score, number, start in zip(background.scores[w], background.file[w], background.start[w], strict=True):
            if score >= threshold:
                found.append(Place(w, ALARM, float(score), int(number), background.files[number], float(start)))
    return sorted(found, key=lambda place: place.score if place.kind == MISSED else -place.score)


def hear_again(places: Iterable[Place], words: Sequence[Word], opened: Callable[[int], Sound],
               clip_samples: int) -> None:
    """Fill in what is played and compared, each recording being read once."""
    by_file = defaultdict(list)
    for place in places:
        by_file[place.number].append(place)
    for number, wanted in by_file.items():
        whole = np.concatenate([np.zeros(0, np.int16), *opened(number).blocks])
        for place in wanted:
            word = words[place.word]
            window = max(0.0, place.start - word.start)
            end = window + (word.windows - 1) * word.spacing + clip_samples / SAMPLE_RATE
            place.first, last = max(0.0, window - AROUND), end + AROUND
            if place.kind != ALARM:
                place.first = max(0.0, (window + end - LONGEST) / 2)
                last = max(place.first + LONGEST, end)
            place.samples = whole[round(place.first * SAMPLE_RATE):round(last * SAMPLE_RATE)].copy()
            starts = [round((window - place.first + k * word.spacing) * SAMPLE_RATE) for k in range(word.windows)]
            place.windows = np.stack([fit(place.samples[start:start + clip_samples], clip_samples)
                                      for start in starts])


def page_of_score(outcome: Outcome, printed: dict, thresholds: Sequence[float], where: str,
                  opened: Callable[[int], Sound], words_path: str | None) -> Page:
    """A page of the figures that `spotting.score` printed.

    Args:
        printed: its title, line, cells with their headings in the first row, curve and JSON.
        thresholds: (W,) those that the mistakes are of, and ``where`` says which.
        opened: a recording by number, with its noise.
    """
    words, places = outcome.tested[0].words, places_of(outcome, thresholds)
    heard, seen = [], Counter()
    for place in places:
        seen[place.word, place.kind] += 1
        if place.kind != ALARM or seen[place.word, ALARM] <= MOST:
            heard.append(place)
    unheard = {kind: count - MOST for kind, count in seen.items() if kind[1] == ALARM and count > MOST}
    hear_again(heard, words, opened, outcome.embedder.facts.clip_samples)
    embedded = np.split(outcome.embedder(np.concatenate([place.windows for place in heard])),
                        np.cumsum([len(place.windows) for place in heard])[:-1])
    names = {i: word.name for i, word in enumerate(words)}
    caption = (f"Recordings of each word found and missed, and its false alarms in {outcome.background.hours:.2f} h: "
               f"{where}")
    matrix = Matrix("Found, missed, false alarms", caption, dict(seen), dict.fromkeys(names, FOUND),
                    (list(names), list(COLUMNS)))
    return Page(
        f"Misses and false alarms: {printed['title']}", printed["line"], [],
        {"clip": "recording", "row": "word", "column": "mistake",
         "values": ["score", "threshold", "nearest, similarity"], "nearest": "nearest enrolled clip"},
        names, COLUMNS, matrix, mistakes_of(heard, embedded, words, thresholds, outcome.embedder.facts.clip_seconds),
        origin_of_score(printed["content"], words_path, [file for _, file, *_ in outcome.positives]), outcome.notes,
        [Table("Misses against false alarms an hour", printed["cells"])],
        named({"curve": printed["curve"]}),
        f"The mistakes are those of {where}. The nearest enrolled clip is that of the word which the stretch "
        "found most like it resembles most.", "", unheard)


def mistakes_of(places: Sequence[Place], embedded: Sequence[np.ndarray], words: Sequence[Word],
                thresholds: Sequence[float], clip_seconds: float) -> list[Mistake]:
    """What was missed or falsely found, each beside the enrolled clip that its (K, D) embeddings are most like."""
    enrolled = cache(lambda w, i: enrolled_clip(words[w].clips[i], words[w].name, clip_seconds))
    mistakes = []
    for place, windows in zip(places, embedded, strict=True):
        if place.kind == FOUND:
            continue
        similar = np.array([float((windows * clip.embedding).sum(1).mean()) for clip in words[place.word].clips])
        nearest = int(similar.argmax())
        score = (place.score, f"{place.score:.3f}") if np.isfinite(place.score) else (-9.0, "none")
        values = score, *((value, f"{value:.3f}") for value in (thresholds[place.word], similar[nearest]))
        lines = (place.file, f"most like the word at {place.start:.2f} s; played from {place.first:.2f} s, "
                             f"{len(place.samples) / SAMPLE_RATE:.2f} s")
        clip = Clip(lines, lambda samples=place.samples: samples, (place.number, place.first, place.word, place.kind))
        mistakes.append(Mistake(place.word, place.kind, values, clip, enrolled(place.word, nearest)))
    return mistakes


def enrolled_clip(clip: Enrolled, label: str, clip_seconds: float) -> Clip:
    """An enrolled clip, if its recording is where it was and is what it was."""
    from data.folder.word_stretch import examine

    heard = examine(([clip.file], clip_seconds), clip.channel)[0]
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
