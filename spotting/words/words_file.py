"""The words file: enrolled words as embeddings of a few clips each, what they are matched by, and which encoder's.

JSON, an embedding a line. Names and thresholds may be edited by hand, clips and words removed. Each embedding has a
check sum, so one that was changed is refused.
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
from data.base.files import read_json, write_atomically
from models.enrolment.enrol import alike, unit
from models.enrolment.kept_cohort import Cohort
from spotting.encoders.load import FACTS, Embedder, Facts

FORMAT = "keyword-spotting words 3"  # the thresholds of earlier ones are for other scores
_EMBEDDINGS = ("embedding", "model", "halls")  # of a clip
_PAIRS = 5  # of words of which one is taken for the other, to be named


@dataclass
class Clip:
    """An enrolled clip: where it was found, and what it is."""

    file: str
    offset: float
    seconds: float
    sha1: str  # of its samples
    embedding: np.ndarray  # (K, D), of its windows
    model: np.ndarray  # (K, D), its mean over the conditions it was heard in
    halls: np.ndarray  # (K, D), its mean over halls
    channel: int | None = None  # that --channel chose
    narrow: bool = False  # whether it has nothing above 4 kHz


@dataclass
class Word:
    """An enrolled word."""

    name: str
    clips: list[Clip]
    spacing: float  # seconds between its K windows; 0 with one
    start: float  # where the word lies, in seconds from its first window's start
    end: float
    threshold: float  # the least score that is a hit
    calibrated: bool = False  # whether recordings without the word set the threshold

    @property
    def windows(self) -> int:
        return len(self.clips[0].embedding)

    def models(self, leave_out: int | None = None) -> np.ndarray:
        """(2, K, 1 + N, D) float32 of length 1, which `alike` compares windows with: of each window the mean over the
        clips, one of them perhaps left out, and then these; the second in halls."""
        clips = [clip for i, clip in enumerate(self.clips) if i != leave_out]
        models = unit(np.array([[clip.model for clip in clips], [clip.halls for clip in clips]])).swapaxes(1, 2)
        return np.concatenate([unit(models.mean(2, keepdims=True)), models], 2, dtype=np.float32)

    def similar(self, embedding: np.ndarray, leave_out: int | None = None) -> np.ndarray:
        """(K,) how alike each of (K, D) windows is to the word's window of the same number, or to its only one."""
        found = alike(embedding, self.models(leave_out))  # (K, K or 1)
        return found[:, 0] if found.shape[1] == 1 else np.diagonal(found)

    def left_out_scores(self, cohort: Cohort | None = None) -> np.ndarray:
        """(N,) each clip's similarity to the word of the others, less its level in a cohort; NaN for a single one."""
        if len(self.clips) < 2:
            return np.full(len(self.clips), np.nan)
        return np.array([float(self.similar(clip.embedding, i).mean())
                         - (float(cohort.level(clip.embedding).mean()) if cohort else 0.0)
                         for i, clip in enumerate(self.clips)])


@dataclass
class Words:
    """All enrolled words, the encoder whose embeddings they are, and what their thresholds rest on."""

    encoder: Facts
    words: list[Word]
    calibration: dict = field(default_factory=dict)
    cohort: str | None = None  # digest of the one that scores are held against; None takes similarities as they are

    @property
    def names(self) -> list[str]:
        return [word.name for word in self.words]


def read_words(path: str | Path) -> Words:
    """A words file. Raises UserError: missing, damaged, or with an embedding or cohort that is not the enrolled one."""
    value = read_json(path, "file of words", "make it with python -m spotting.enroll",
                      {"encoder": FACTS, "calibration": {"background": [str]}})
    try:
        if value["format"] != FORMAT or not value["words"]:
            raise ValueError(f"format {value['format']!r}, {len(value['words'])} words")
        facts, cohort = Facts(**value["encoder"]), value.get("cohort")
        words = [_word(name, entry, facts, cohort) for name, entry in value["words"].items()]
        return Words(facts, words, value["calibration"], cohort)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise UserError(f"{path}: is not as spotting.enroll writes it ({type(error).__name__}: {error}); restore it, "
                        "or enrol the words again with python -m spotting.enroll") from None


def _word(name: str, entry: dict, facts: Facts, cohort: str | None) -> Word:
    """A word from its JSON. Raises ValueError for an embedding that is not the enrolled one."""
    clips, shapes = [], set()
    for one in entry["clips"]:
        parts = {name: one[name] for name in _EMBEDDINGS}
        if one["check"] != check_sum(one["sha1"], [row for rows in parts.values() for row in rows], cohort):
            raise ValueError(f"the embedding of {one['file']} is not the one that was enrolled: it, or the cohort, was "
                             "changed")
        arrays = {part: np.array(rows, np.float32) for part, rows in parts.items()}
        clips.append(Clip(one["file"], float(one["offset"]), float(one["seconds"]), one["sha1"],
                          channel=one.get("channel"), narrow=one.get("narrow", False), **arrays))
        shapes |= {array.shape for array in arrays.values()}
    if shapes != {(clips[0].embedding.shape[0], facts.width)}:
        raise ValueError(f"the clips of {name!r} differ in their windows, or from their encoder")
    word = Word(name, clips, *(float(entry[key]) for key in ("spacing", "start", "end", "threshold")),
                entry["calibrated"])
    if not all(map(math.isfinite, (word.spacing, word.start, word.end, word.threshold))):
        raise ValueError(f"{name!r} has a number that is none")
    return word


def check_sum(sha1: str, embedding: Sequence[Sequence[float]], cohort: str | None) -> str:
    """What ties embeddings (K, D), as they are kept, to their clip and to the cohort that may have whitened them."""
    text = " ".join([*filter(None, [cohort]), sha1, *(f"{x:.6f}" for row in embedding for x in row)])
    return hashlib.sha1(text.encode()).hexdigest()[:16]


def write_words(path: str | Path, words: Words) -> None:
    """Write a words file: indented, an embedding on one line."""
    value = {"format": FORMAT, **({"cohort": words.cohort} if words.cohort else {}),
             "encoder": vars(words.encoder), "calibration": words.calibration, "words": {word.name: {
                 "threshold": round(word.threshold, 6), "calibrated": word.calibrated,
                 "spacing": round(word.spacing, 4), "start": round(word.start, 3), "end": round(word.end, 3),
                 "clips": [{"file": clip.file, "offset": round(clip.offset, 4), "seconds": round(clip.seconds, 4),
                            **({"channel": clip.channel} if clip.channel else {}),
                            **({"narrow": True} if clip.narrow else {}),
                            "sha1": clip.sha1,
                            "check": check_sum(clip.sha1, [row for part in parts.values() for row in part],
                                               words.cohort), **parts}
                           for clip in word.clips for parts in [_parts(clip)]]} for word in words.words}}
    text = json.dumps(value, indent=1, ensure_ascii=False)
    text = re.sub(r"\[\s+(-?[\d.e-]+(?:,\s+-?[\d.e-]+)*)\s+\]", lambda m: "[" + " ".join(m[1].split()) + "]", text)
    with write_atomically(path) as file:
        file.write(text + "\n")


def _parts(clip: Clip) -> dict[str, list[list[float]]]:
    """The numbers of a clip, as they are kept."""
    return {name: [[round(float(x), 6) for x in row] for row in getattr(clip, name)] for name in _EMBEDDINGS}


def suited(words: Words, embedder: Embedder, path: str | Path) -> Embedder:
    """The words' encoder. Raises UserError: it, or the cohort that their scores are held against, is another one."""
    wanted, given = words.encoder, embedder.facts
    if replace(wanted, path=given.path, run=given.run, step=given.step) != given:
        raise UserError(f"{path}: these words were enrolled with {wanted}, not {given}; name it, or enrol them again")
    if (kept := embedder.cohort and embedder.cohort.digest) != words.cohort:
        then, now = (digest[:12] if digest else "none" for digest in (words.cohort, kept))
        raise UserError(f"{path}: the scores of these words are held against the cohort {then}, and {given.path} has "
                        f"{now}; restore its cohort.npz, or enrol the words again")
    return embedder


def taken_for(words: Sequence[Word], cohort: Cohort | None = None) -> list[str]:
    """Lines on words whose clips reach the threshold of another, those with the most clips first."""
    reached = []
    for a in words:
        levels = [cohort.level(clip.embedding) if cohort else 0.0 for clip in a.clips]
        for b in words:
            if a is not b and b.windows in (1, a.windows):  # of a longer word the best window counts for a short one
                scores = [b.similar(clip.embedding) - level for clip, level in zip(a.clips, levels, strict=True)]
                best = np.array([score.mean() if b.windows > 1 else score.max() for score in scores])
                reached.append((int((best >= b.threshold).sum()), a.name, b.name))
    return [f"warning: {count} clips of {a!r} reach the threshold of {b!r}, so it may be taken for that one; "
            "where both are found the better one is given"
            for count, a, b in sorted(reached, key=lambda entry: -entry[0])[:_PAIRS] if count]


def misfits(words: Sequence[Word]) -> list[tuple[Clip, str]]:
    """Clips that do not fit their word: nearer to another word, or far off from how alike the others are."""
    found = []
    for word in (word for word in words if len(word.clips) > 2):
        scores = word.left_out_scores()
        median = np.median(scores)
        far = median - max(0.15, 4 * 1.4826 * float(np.median(np.abs(scores - median))))
        for clip, score in zip(word.clips, scores, strict=True):
            other, near = max(((w.name, float(w.similar(clip.embedding).mean())) for w in words
                               if w is not word and w.windows == word.windows), key=lambda pair: pair[1],
                              default=("", -1.0))
            if near > score:
                found.append((clip, f"is more like {other!r} ({near:.2f}) than like the others ({score:.2f})"))
            elif score < far:
                found.append((clip, f"is less like the others ({score:.2f}) than they are ({median:.2f})"))
    return found
