"""Clips that seem to be one recording twice, as copies by MP3 or at another level: no digest of samples tells them."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from data.audio.decoding import decode
from data.base.errors import UserError
from spotting.words.words_file import Clip, Word

# Of 499 pairs of recordings of a word the highest correlation was 0.63; of 210 copies (other codecs, rates, levels,
# beginnings) the lowest was 0.97. Copies by telephone are not found.
_SIMILAR = 0.8  # of embeddings, from which on sounds are compared
_SAME = 0.95  # correlation


def copies(words: Sequence[Word]) -> list[str]:
    """A line for each clip that seems to be a copy of one before it, under the same word or another."""
    clips = [clip for word in words for clip in word.clips]
    names = [word.name for word in words for _ in word.clips]
    return [f"warning: {clips[i].file} ({names[i]}) seems to be a copy of {clips[j].file} ({names[j]}), so clips look "
            "more alike than they are; remove one" for i, j in same_sound(clips)]


def same_sound(clips: Sequence[Clip], others: Sequence[Clip] | None = None) -> list[tuple[int, int]]:
    """Positions of clips, each with the first of ``others``, by default of those before it, that it is a copy of.

    Clips of as many windows are compared; those whose recordings are no longer there are none's.
    """
    found = []
    sound = cache(lambda clip: _sound(*clip))
    for i, clip in enumerate(clips):
        for j, other in enumerate(clips[:i] if others is None else others):
            if other.embedding.shape == clip.embedding.shape and \
                    (clip.embedding * other.embedding).sum(1).mean() >= _SIMILAR and \
                    correlation(*(sound((c.file, c.offset, c.seconds, c.channel)) for c in (clip, other))) >= _SAME:
                found.append((i, j))
                break
    return found


def correlation(a: np.ndarray | None, b: np.ndarray | None) -> float:
    """The highest normalised correlation of two sounds, (T,) of any lengths, at any shift; 0 for a missing one."""
    if a is None or b is None:
        return 0.0
    size = len(a) + len(b)
    at_shifts = np.fft.irfft(np.fft.rfft(a, size) * np.fft.rfft(b, size).conj(), size)
    return float(np.abs(at_shifts).max() / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-9))


def _sound(file: str, offset: float, seconds: float, channel: int | None) -> np.ndarray | None:
    """(T,) float64 around 0; None where the recording is no longer there, or another."""
    try:
        samples = decode(file, offset, seconds, channel=channel).astype(np.float64)
    except UserError:
        return None
    return samples - samples.mean()
