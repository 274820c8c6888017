"""Recordings of words to enrol: what is usable, where the word lies in each, and its windows' embeddings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from data.audio.decoding import SAMPLE_RATE, decode
from data.base.cores import each
from data.base.errors import UserError
from data.base.find import find_words
from data.base.labels import look_alike
from data.folder.word_stretch import Recording, examine, in_tones, strongest
from data.sources.splits import doubtful
from spotting.encoders.load import Embedder
from spotting.sound.conditions import WEIGHTS, heard_elsewhere
from spotting.sound.heard import is_narrow
from spotting.words.words_file import Clip, Word, Words

LONGER = 1.05  # times the encoder's clip: from here on a word is enrolled as a sequence of windows
MARGIN = 0.1  # seconds of a long word's first and last window before and after it
SPACING = 0.35  # seconds between its windows at most
THRESHOLD = 0.8  # without a background; the similarity at which nothing is known
_CHUNK = 50


@dataclass
class Recorded:
    """A recording of a word, the samples of its stretch that is enrolled, and where the word lies, in seconds."""

    word: str
    of: Recording
    samples: np.ndarray
    start: float
    end: float
    channel: int | None


def find_recordings(folder: Path, clip_seconds: float, say: Callable[[str], None],
                    channel: int | None = None) -> list[Recorded]:
    """Hear a folder of a folder a word; what is no usable audio is told. Raises UserError: nothing usable, of some word
    or at all."""
    findings = find_words(folder)
    files = findings.files
    heard = list(each(partial(examine, clip_seconds=clip_seconds, channel=channel), [path for _, path in files], _CHUNK,
                      "listening", " files"))
    usable = [(word, one) for (word, _), one in zip(files, heard, strict=True) if not isinstance(one, str)]
    odd = *look_alike(sorted({word for word, _ in usable})), *doubtful((one.path, one.remarks) for _, one in usable)
    for line in (*findings.remarks(), *(f"left out {one}" for one in heard if isinstance(one, str)),
                 *(f"warning: {line}" for line in odd)):
        say(line)
    if lost := sorted({word for word, _ in files} - {word for word, _ in usable}):
        reason = next(r for (word, _), r in zip(files, heard, strict=True) if word == lost[0])
        raise UserError(f"{folder}: no usable recording of {', '.join(map(repr, lost))}, for instance {reason}")
    return [_where(word, recording, clip_seconds, channel) for word, recording in usable]


def _where(word: str, recording: Recording, clip_seconds: float, channel: int | None) -> Recorded:
    """Decode a recording's stretch, and find the word's ends in it and as much again on both sides."""
    before = min(recording.offset, clip_seconds)
    begins = recording.offset - before
    around = decode(recording.path, begins, clip_seconds * 2 + before, channel=channel)
    start, end = speech_span(around)
    samples = around[round(before * SAMPLE_RATE):][:round(recording.duration * SAMPLE_RATE)]
    return Recorded(word, recording, samples, begins + start, begins + end, channel)


def speech_span(samples: np.ndarray) -> tuple[float, float]:
    """Where the sound of a word lies in a clip, (T,) int16 at 16 kHz, in seconds: from the first to the last 10 ms
    within 25 dB of the loudest, of which fewer than three in a row are taken for a click; steady tones do not count."""
    from scipy.ndimage import binary_opening

    hop = SAMPLE_RATE // 100
    frames = samples[:len(samples) // hop * hop].reshape(-1, hop).astype(np.float64)
    power = frames.var(1)
    power[in_tones(strongest(samples[:, np.newaxis], hop), len(power))] = 0
    where = np.flatnonzero(binary_opening(power > power.max(initial=0) * 10 ** -2.5, np.ones(3)))
    if not len(where):
        return 0.0, len(samples) / SAMPLE_RATE
    return float(where[0]) / 100, float(where[-1] + 1) / 100


def enrol(recorded: list[Recorded], embedder: Embedder, say: Callable[[str], None], before: Words | None = None,
          word_seconds: float | None = None) -> Words:
    """Embed recordings as words, those of ``before`` among them; of equal sounds of one word, one is kept. A word lasts
    ``word_seconds``, or the median of its recordings. Raises UserError: the same sound under two words, or no
    recording that lasts ``word_seconds``."""
    facts = embedder.facts
    old = {word.name: word for word in before.words} if before else {}
    first = {clip.sha1: (clip.file, name) for name, word in old.items() for clip in word.clips}
    by_word = defaultdict(list)
    for r in recorded:
        if r.of.digest not in first:
            first[r.of.digest] = r.of.path, r.word
            by_word[r.word].append(r)
            continue
        path, name = first[r.of.digest]
        if name != r.word:
            raise UserError(f"{r.of.path} and {path}: the same sound under two words, {r.word!r} and {name!r}; remove "
                            "the one that is wrong")
        say(f"left out {r.of.path}: the same sound as {path}")
    for name, group in by_word.items():
        word = old.get(name)
        if word_seconds and word_seconds > (longest := max(r.of.seconds for r in group)):
            raise UserError(f"--word_seconds {word_seconds:g}: the longest recording of {name!r} has {longest:.2f} s")
        lasts = word_seconds or float(np.median([r.end - r.start for r in group]))
        windows = word.windows if word else 1
        if not word and lasts > LONGER * facts.heard_seconds:
            windows = 1 + int(np.ceil((lasts + 2 * MARGIN - facts.heard_seconds) / SPACING))
        made = _short(name, group, embedder) if windows == 1 else _long(name, group, embedder, lasts, windows)
        if windows > 1:
            say(f"{name}: lasts {lasts:.2f} s, longer than the encoder's clip of {facts.heard_seconds:g} s, so it is "
                f"enrolled as {windows} windows {made.spacing:.2f} s apart, to be found in this order")
        if word:
            count = len(word.clips), len(made.clips)
            for key in ("spacing", "start", "end"):
                setattr(made, key, float(np.average([getattr(word, key), getattr(made, key)], weights=count)))
            made.clips = word.clips + made.clips
        old[name] = made
    return Words(facts, list(old.values()), {})


def _clip(recorded: Recorded, offset: float, seconds: float, windows: np.ndarray, embedder: Embedder) -> Clip:
    """An enrolled clip of (K, S) windows: their embeddings, and the means of these over conditions."""
    of = recorded.of
    every = np.concatenate([windows[None], heard_elsewhere(windows)])  # (C, K, S)
    embeddings = embedder(every.reshape(-1, windows.shape[1])).reshape(len(every), len(windows), -1)
    return Clip(of.path, offset, seconds, of.digest, embeddings[0],
                *np.tensordot(WEIGHTS, embeddings, 1).astype(np.float32), recorded.channel, is_narrow(recorded.samples))


def _short(name: str, group: list[Recorded], embedder: Embedder) -> Word:
    whole = np.stack([embedder.facts.clip_of(r.samples) for r in group])
    start, end = np.median([speech_span(samples) for samples in whole], axis=0)
    clips = [_clip(r, r.of.offset, r.of.duration, samples[None], embedder)
             for r, samples in zip(group, whole, strict=True)]
    return Word(name, clips, 0.0, float(start), float(end), THRESHOLD)


def _long(name: str, group: list[Recorded], embedder: Embedder, lasts: float, windows: int) -> Word:
    facts, clips, spacings = embedder.facts, [], []
    before = MARGIN + facts.context_seconds
    for r in group:
        start, end = r.start, r.end
        if not 0.7 < (end - start) / lasts < 1.4:  # another sound beside it: as long as others, around the loudest
            start = r.of.offset + (r.of.duration - lasts) / 2
            end = start + lasts
        first, last = start - before, max(end + before - facts.clip_seconds, start - facts.context_seconds)
        starts = np.linspace(first, last, windows)
        cuts = np.stack([_cut(r, at, facts.clip_samples) for at in starts])
        clips.append(_clip(r, max(0.0, start), end - start, cuts, embedder))
        spacings.append((last - first) / (windows - 1))
    return Word(name, clips, float(np.mean(spacings)), before, before + float(np.mean([c.seconds for c in clips])),
                THRESHOLD)


def _cut(recorded: Recorded, start: float, length: int) -> np.ndarray:
    """``length`` samples of a recording from ``start`` seconds on, zeros where it has none."""
    missing = max(0, -round(start * SAMPLE_RATE))
    found = decode(recorded.of.path, max(0.0, start), (length - missing) / SAMPLE_RATE,
                   channel=recorded.channel)[:length - missing]
    return np.pad(found, (missing, length - missing - len(found)))
