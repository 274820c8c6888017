"""Windows of other people's speech, kept beside an encoder, that scores are normalised by.

A window's score is its similarity to a word less its level, the mean similarity of the cohort's windows that are most
like it: the centre of speaker verification's adaptive t-norm (Matejka et al., 2017) without its division, which by
measurement made it worse. Where words are known in its recordings, the cohort also keeps a `Whitening`, which all
embeddings go through before they are compared. Windows in which an enrolled word is said do not count against it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from data.base.errors import UserError, first_few
from data.base.files import open_regular, read_npz
from data.base.labels import folded
from models.enrolment.cohort import Whitening
from models.enrolment.enrol import alike, unit
from models.runs.checkpoints import run_of

KEPT = "cohort.npz"
NEAREST = 50  # windows of the cohort whose mean similarity is a window's level
_STEP = 127  # an embedding's value of 1, as a whole number
_ROWS = 500  # windows looked at at a time
_AGAIN = "remove it, and make another with python -m spotting.cohort"


@dataclass(frozen=True, eq=False)
class Cohort:
    """Windows of speech of many people."""

    plain: np.ndarray  # (M, D) float32, their embeddings, rows of length 1
    spoken: np.ndarray  # (M,) the words that are said in each, blanks between them, as far as they are known
    digest: str
    content: bytes  # of its file
    whitening: Whitening | None = None
    words: np.ndarray | None = None  # of the clips that the whitening was learnt from

    @cached_property
    def embeddings(self) -> np.ndarray:
        """(M, D) float32, rows of length 1, as they are compared."""
        return self.whitened(self.plain)

    def whitened(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) embeddings of the encoder to (N, D) as they are compared."""
        return embeddings if self.whitening is None else self.whitening(embeddings)

    def level(self, embeddings: np.ndarray, own: bool = False) -> np.ndarray:
        """(N, D) embeddings as they are compared to (N,) float32, the mean similarity of the cohort's `NEAREST`; of its
        ``own`` windows, each without itself."""
        levels, count = [np.zeros(0, np.float32)], max(1, min(NEAREST, len(self.embeddings) - own))
        for start in range(0, len(embeddings), _ROWS):
            similar = embeddings[start:start + _ROWS] @ self.embeddings.T
            if own:
                np.fill_diagonal(similar[:, start:], -1)
            levels.append(np.partition(similar, len(self.embeddings) - count, axis=1)[:, -count:].mean(1))
        return np.concatenate(levels)

    @cached_property
    def own_levels(self) -> np.ndarray:
        """(M,) float32, the levels of the cohort's windows; a window itself does not count."""
        return self.level(self.embeddings, own=True)

    def scores(self, models: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """A word's models, as `alike` takes them, to (K, M') float32, the scores of the windows in which none of
        ``names`` is said."""
        rows = self.without(names)
        return alike(self.embeddings[rows], models).T - self.own_levels[rows]

    def without(self, names: Sequence[str]) -> np.ndarray:
        """(M',) the windows in which none of ``names``, words or phrases, is known to be said."""
        return np.array([i for i, text in enumerate(self._spoken) if not any(_words(name) in text for name in names)],
                        np.int64)

    def learnt_from(self, names: Sequence[str]) -> dict[str, int]:
        """Of those ``names`` that the whitening has seen, in how many clips."""
        texts = [] if self.whitening is None else list(map(_words, self.words))
        return {name: count for name in names if (count := sum(_words(name) in text for text in texts))}

    @cached_property
    def _spoken(self) -> list[str]:
        return [_words(text) for text in self.spoken]


def _words(text: str) -> str:
    """Words between blanks, so that one is found only as a whole, however it is typed (`data.base.labels.folded`)."""
    return f" {' '.join(filter(None, map(folded, str(text).split())))} "


def pack(embeddings: np.ndarray, spoken: Sequence[str], sha256: str, whitening: Whitening | None = None,
         words: Sequence[str] = ()) -> bytes:
    """The file of a cohort: embeddings (M, D) as whole numbers of 1/127, what is said, its encoder's SHA-256, and the
    words of the clips that its whitening was learnt from."""
    content = io.BytesIO()
    kept = {} if whitening is None else {"centre": whitening.centre, "factor": whitening.factor,
                                         "words": np.array(words, str)}
    np.savez_compressed(content, windows=np.round(_STEP * embeddings).astype(np.int8), spoken=np.array(spoken, str),
                        sha256=sha256, **kept)
    return content.getvalue()


def unpack(content: bytes, sha256: str, width: int) -> Cohort | str:
    """A cohort, or what is wrong with its file for the encoder of this SHA-256 and width."""
    try:
        kept = read_npz(io.BytesIO(content))
        whole, spoken, of, words = kept["windows"], kept["spoken"], str(kept["sha256"]), kept.get("words")
        whitening = Whitening(kept["centre"], kept["factor"]) if "factor" in kept else None
    except (OSError, ValueError, KeyError) as error:
        return f"cannot be read ({error})"
    if of != sha256:
        return "is not of this encoder"
    embeddings = whole.astype(np.float32)
    if embeddings.shape != (len(spoken), width) or not len(spoken) or not embeddings.any(1).all() or \
            (whitening is not None and not whitening.fits(width)):
        return "is damaged"
    return Cohort(unit(embeddings), spoken, hashlib.sha1(content).hexdigest(), content, whitening, words)


def tell_learnt(counts: dict[str, int]) -> list[str]:
    """A line on words that a whitening was learnt from, as `Cohort.learnt_from` gives them; none if there are none."""
    named = first_few(f"{name} {count}" for name, count in counts.items())
    return [f"the cohort's whitening was learnt from clips of {len(counts)} of these words, too ({named}): for words "
            "new to it, scores may be worse"] if counts else []


def place_of(checkpoint: Path) -> Path | None:
    """Where the cohort of a checkpoint's encoder is kept; None for one that lies in no run's folder."""
    run = run_of(checkpoint)
    return run.folder / KEPT if run else None


def read_kept(checkpoint: Path, sha256: str, width: int, encoder: object) -> Cohort | None:
    """The cohort kept beside an encoder of this SHA-256 and width; None if there is none. Raises UserError for a file
    that is damaged, or another encoder's."""
    path = place_of(checkpoint)
    if path is None or not path.exists():
        return None
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {_AGAIN}") from None
    cohort = unpack(content, sha256, width)
    if isinstance(cohort, str):
        raise UserError(f"{path}: {cohort}, {encoder}; {_AGAIN}")
    return cohort
