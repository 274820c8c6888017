"""The words file: enrolled words as embeddings of a few clips each, what they are matched by, and which encoder's.

JSON that a person can read; an embedding is a line. Nothing in it is run. Names and thresholds may be edited by hand,
clips and words removed. What else was changed is found out: embeddings have length 1, the encoder's size and a check
sum, and no number may be one that enrolling cannot give.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from data.base.errors import UserError
from data.base.files import misshapen, read_json, write_atomically
from data.base.labels import has_controls, one_form
from models.enrolment.kept_cohort import Cohort
from spotting.encoders.facts import Facts, facts_of
from spotting.encoders.load import Embedder

FORMAT = "keyword-spotting words 1"
NORMALISED = "keyword-spotting words 2"  # of words whose scores are held against a cohort
_NUMBER = (int, float)
_CLIP = {"file": str, "offset": _NUMBER, "seconds": _NUMBER, "sha1": str, "embedding": [[_NUMBER]],
         "check": str, "channel": int, "narrow": bool}
_WORD = {"threshold": _NUMBER, "spacing": _NUMBER, "start": _NUMBER, "end": _NUMBER, "clips": [_CLIP]}
_SHAPE = {"format": str, "words": {str: _WORD}, "calibration": {"background": [str]}}
_LATER = ("check", "channel", "narrow")  # keys that a clip may lack
_LONGEST = 255  # bytes of a name, as of the folder that a word is named after
_ROUNDING = 0.01
MOST_PAIRS = 5  # of words that are taken for one another, to be named
_WAY_OUT = "restore it, or enrol the words again with python -m spotting.enroll"


@dataclass
class Clip:
    """An enrolled clip: where it was found, the digest of its samples, its windows' embeddings (K, D), the channel
    that --channel chose, and whether it has nothing above 4 kHz."""

    file: str
    offset: float
    seconds: float
    sha1: str
    embedding: np.ndarray
    channel: int | None = None
    narrow: bool = False


@dataclass
class Word:
    """An enrolled word.

    Attributes:
        spacing: seconds between its K windows; 0 with one.
        start, end: where the word lies, in seconds from its first window's start.
        threshold: the least score that is a hit.
        calibrated: whether recordings without the word set the threshold.
    """

    name: str
    clips: list[Clip]
    spacing: float
    start: float
    end: float
    threshold: float
    calibrated: bool = False

    @property
    def windows(self) -> int:
        return len(self.clips[0].embedding)

    def template(self, leave_out: int | None = None) -> np.ndarray:
        """(K, D): of each window the mean over the clips, one of them perhaps left out, scaled to length 1."""
        mean = np.mean([clip.embedding for i, clip in enumerate(self.clips) if i != leave_out], axis=0)
        return mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)

    def left_out_scores(self, cohort: Cohort | None = None) -> np.ndarray:
        """(N,) each clip's similarity to the word of the others, less its level in a cohort; NaN for a single one."""
        if len(self.clips) < 2:
            return np.full(len(self.clips), np.nan)
        return np.array([float((clip.embedding * self.template(i)).sum(1).mean())
                         - (float(cohort.level(clip.embedding).mean()) if cohort else 0.0)
                         for i, clip in enumerate(self.clips)])


@dataclass
class Words:
    """All enrolled words, the encoder whose embeddings they are, and what their thresholds rest on.

    ``cohort`` is the digest of the one that their scores are held against; None takes similarities as they are.
    """

    encoder: Facts
    words: list[Word]
    calibration: dict = field(default_factory=dict)
    cohort: str | None = None

    @property
    def names(self) -> list[str]:
        return [word.name for word in self.words]


def read_words(path: str | Path) -> Words:
    """A words file.

    Raises:
        UserError: missing, truncated, of another format, or edited so that it cannot be right; saying what is wrong.
    """
    value = read_json(path, "file of words", "make it with python -m spotting.enroll", dict)
    if value.get("format") not in (FORMAT, NORMALISED):
        raise UserError(f"{path}: is no file of words of this version ({value.get('format')!r}, not {FORMAT!r}); "
                        "make it with python -m spotting.enroll")
    facts = facts_of(value.get("encoder"))
    normalised = value["format"] == NORMALISED
    problem = facts if isinstance(facts, str) else misshapen(value, _SHAPE | ({"cohort": str} if normalised else {}))
    if not problem and normalised != ("cohort" in value):
        problem = ("does not say which cohort its scores are held against" if normalised else
                   f"names a cohort, which {value['format']!r} does not have")
    if problem or not value.get("words"):
        raise UserError(f"{path}: {problem or 'has no words'}; {_WAY_OUT}")
    words, seen = [], {}
    for name, entry in value["words"].items():
        if problem := misfit(name, entry, facts, value.get("cohort")) or repeated(name, entry, seen):
            raise UserError(f"{path}: word {name[:40]!r}: {problem}; {_WAY_OUT}")
        clips = [Clip(**{key: clip[key] for key in ("file", "offset", "seconds", "sha1")},
                      embedding=np.array(clip["embedding"], np.float32), channel=clip.get("channel"),
                      narrow=clip.get("narrow", False))
                 for clip in entry["clips"]]
        words.append(Word(name, clips, *(float(entry[key]) for key in ("spacing", "start", "end", "threshold")),
                          entry.get("calibrated") is True))
    return Words(facts, words, value.get("calibration", {}), value["cohort"] if normalised else None)


def misfit(name: str, entry: dict, facts: Facts, cohort: str | None = None) -> str | None:
    """What cannot be right about a word of a file whose shape is.

    Args:
        cohort: the digest of the one that its scores are held against.
    """
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return "its name is no text that can be written"
    if one_form(name) != name or not name or has_controls(name) or length > _LONGEST:
        return ("its name is blank, too long, has blanks around it or control characters, or accents that are not one "
                "character with their letter (NFC)")
    for value, keys in ((entry, _WORD), *((clip, _CLIP) for clip in entry.get("clips", ()))):
        if missing := [key for key in keys if key not in value and key not in _LATER]:
            return f"lacks {missing[0]!r}"
    if not entry["clips"]:
        return "has no clips"
    windows, most = len(entry["clips"][0]["embedding"]), 2 if cohort else 1
    for clip in entry["clips"]:
        if not (0 <= clip["offset"] < math.inf and 0 < clip["seconds"] < math.inf):  # also NaN
            return f"the clip {clip['file']} has an offset or length that cannot be right"
        if clip.get("channel", 1) < 1:
            return f"the clip {clip['file']} has the channel {clip['channel']}; the first is 1"
    if not abs(entry["threshold"]) <= most + _ROUNDING:
        return f"its threshold {entry['threshold']:g} cannot be right: scores lie between {-most} and {most}"
    if not 0 <= entry["spacing"] <= facts.clip_seconds:
        return f"its spacing {entry['spacing']:g} cannot be right: windows of {facts.clip_seconds:g} s overlap"
    lasts = facts.clip_seconds + max(0, windows - 1) * entry["spacing"]
    if not 0 <= entry["start"] < entry["end"] <= lasts + _ROUNDING:
        return f"its start {entry['start']:g} or end {entry['end']:g} cannot be right: it lies in {lasts:g} s"
    for clip in entry["clips"]:
        rows = clip["embedding"]
        if len(rows) != windows or not rows:
            return f"the clip {clip['file']} has {len(rows)} windows, the first clip {windows}"
        if any(len(row) != facts.width for row in rows):
            return f"an embedding of {clip['file']} has not the {facts.width} numbers of its encoder's"
        length = np.linalg.norm(np.array(rows, np.float64), axis=1)
        if not (np.abs(length - 1) < 1e-3).all():  # also NaN
            return f"an embedding of {clip['file']} has length {length.min():.3f}, not 1: it was changed"
        if clip.get("check", (now := check_sum(clip["sha1"], rows, cohort))) != now:
            return f"the embedding of {clip['file']} is not the one that was enrolled: it, or the cohort, was changed"
    if windows > 1 and entry["spacing"] == 0:
        return "has several windows with no spacing"
    return None


def repeated(name: str, entry: dict, seen: dict[str, str]) -> str | None:
    """Which of a word's clips a file has twice. ``seen`` has digests of clips with their words, and gets this one's."""
    for clip in entry["clips"]:
        if (other := seen.setdefault(clip["sha1"], name)) != name or \
                sum(c["sha1"] == clip["sha1"] for c in entry["clips"]) > 1:
            return f"the clip {clip['file']} is there twice" + (f", also under {other!r}" if other != name else "")
    return None


def check_sum(sha1: str, embedding: Sequence[Sequence[float]], cohort: str | None) -> str:
    """What ties an embedding (K, D), to the six decimals that are kept, to its clip, and to the cohort that may have
    whitened it."""
    text = " ".join([*([cohort] if cohort else []), sha1, *(f"{x:.6f}" for row in embedding for x in row)])
    return hashlib.sha1(text.encode()).hexdigest()[:16]


def write_words(path: str | Path, words: Words) -> None:
    """Write a words file: indented, an embedding on one line."""
    value = {**({"format": NORMALISED, "cohort": words.cohort} if words.cohort else {"format": FORMAT}),
             "encoder": words.encoder.to_json(), "calibration": words.calibration, "words": {word.name: {
                 "threshold": round(word.threshold, 6), "calibrated": word.calibrated,
                 "spacing": round(word.spacing, 4), "start": round(word.start, 3), "end": round(word.end, 3),
                 "clips": [{"file": clip.file, "offset": round(clip.offset, 4), "seconds": round(clip.seconds, 4),
                            **({"channel": clip.channel} if clip.channel else {}),
                            **({"narrow": True} if clip.narrow else {}),
                            "sha1": clip.sha1, "check": check_sum(clip.sha1, clip.embedding, words.cohort),
                            "embedding": [[round(float(x), 6) for x in row] for row in clip.embedding]}
                           for clip in word.clips]} for word in words.words}}
    text = json.dumps(value, indent=1, ensure_ascii=False)
    text = re.sub(r"\[\s+(-?[\d.e-]+(?:,\s+-?[\d.e-]+)*)\s+\]", lambda m: "[" + " ".join(m[1].split()) + "]", text)
    with write_atomically(path) as file:
        file.write(text + "\n")


def check_encoder(words: Words, facts: Facts, path: str | Path) -> None:
    """Raise UserError, naming both, unless an encoder is the one that words were enrolled with."""
    ours = words.encoder
    if ours.sha256 != facts.sha256:
        raise UserError(f"{path}: these words were enrolled with {ours}, the encoder named is {facts}; name that one, "
                        "or enrol them again")
    if (ours.frontend, ours.clip_samples, ours.width) != (facts.frontend, facts.clip_samples, facts.width):
        raise UserError(f"{path}: these words were enrolled with clips of {ours.clip_seconds:g} s and the front end "
                        f"{ours.frontend}, the encoder {facts} has {facts.clip_seconds:g} s and {facts.frontend}; "
                        "enrol them again")


def suited(words: Words, embedder: Embedder, path: str | Path) -> Embedder:
    """The encoder with the cohort that words' scores are held against, if any.

    Raises:
        UserError: the encoder or the cohort is another one; both are named.
    """
    check_encoder(words, embedder.facts, path)
    if words.cohort is None:
        return replace(embedder, cohort=None)
    if embedder.cohort is None:
        raise UserError(f"{path}: the scores of these words are held against a cohort, {words.cohort[:12]}, which is "
                        f"not with {embedder.facts} at {embedder.facts.path}; put its cohort.npz back, export it "
                        "again, or enrol the words again")
    if embedder.cohort.digest != words.cohort:
        raise UserError(f"{path}: the scores of these words are held against the cohort {words.cohort[:12]}, with "
                        f"{embedder.facts} is {embedder.cohort.digest[:12]}; put the former back, or enrol the words "
                        "again")
    return embedder


def taken_for(words: Sequence[Word], cohort: Cohort | None = None) -> list[str]:
    """Lines on pairs of words whose clips reach each other's thresholds, those with the most clips first."""
    reached = {}
    for a in words:
        levels = [cohort.level(clip.embedding) if cohort else 0.0 for clip in a.clips]
        for b in words:
            if a is not b and b.windows in (1, a.windows):  # of a longer word the best window counts for a short one
                scores = [(clip.embedding * b.template()).sum(1) - level
                          for clip, level in zip(a.clips, levels, strict=True)]
                best = np.array([score.mean() if b.windows > 1 else score.max() for score in scores])
                reached[a.name, b.name] = int((best >= b.threshold).sum())
    pairs = [(reached.get((a.name, b.name), 0), reached.get((b.name, a.name), 0), a, b)
             for i, b in enumerate(words) for a in words[:i]]
    pairs = sorted((pair for pair in pairs if pair[0] + pair[1]), key=lambda pair: -pair[0] - pair[1])
    lines = [f"warning: {a.name!r} and {b.name!r} are alike: {one} of {len(a.clips)} clips of the first reach the "
             f"second's threshold, {other} of {len(b.clips)} the other way round, so one may be taken for the other; "
             "where both are found the better one is told" for one, other, a, b in pairs[:MOST_PAIRS]]
    return lines + [f"warning: {len(pairs) - MOST_PAIRS} more pairs of words are alike"] * (len(pairs) > MOST_PAIRS)


def misfits(words: Sequence[Word]) -> list[tuple[Clip, str]]:
    """Clips that do not fit their word: nearer to another word, or far off from how alike the others are."""
    found = []
    for word in words:
        scores = word.left_out_scores()
        if len(scores) < 3:
            continue
        median = np.median(scores)
        far = median - max(0.15, 4 * 1.4826 * float(np.median(np.abs(scores - median))))
        for clip, score in zip(word.clips, scores, strict=True):
            other, near = max(((w.name, float((clip.embedding * w.template()).sum(1).mean())) for w in words
                               if w is not word and w.windows == word.windows), key=lambda pair: pair[1],
                              default=("", -1.0))
            if near > score:
                found.append((clip, f"is more like {other!r} ({near:.2f}) than like the others ({score:.2f})"))
            elif score < far:
                found.append((clip, f"is less like the others ({score:.2f}) than these among themselves "
                                    f"({median:.2f})"))
    return found
