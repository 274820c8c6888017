"""Clips with what is said around the word, as a spotter hears it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from data.libriwords.wordscan import seconds_of
from data.manifests.manifest import Utterance

Sayings = dict[str, list[tuple[float, float]]]  # by file: start and end, seconds


def with_context(utterances: Iterable[Utterance], seconds: float, share: float = 1.0) -> Iterator[Utterance]:
    """Utterances of ``seconds`` around the word's middle, as far as the recording has them; the rest as they are.

    A word that is longer stays whole. At a recording's ends a stretch is shorter, not moved inside: the first
    two words of a recording would then be the same clip.

    Args:
        share: of the clips, drawn at random but the same every time.
    """
    rng = np.random.default_rng(0)
    for u in utterances:
        if rng.random() >= share or u.duration >= seconds:
            yield u
            continue
        middle = u.offset + u.duration / 2
        start, end = max(0.0, middle - seconds / 2), min(middle + seconds / 2, seconds_of(u.path))
        yield replace(u, offset=start, duration=end - start)


def counted(utterances: Iterable[Utterance], sayings: Sayings, count: Counter) -> Iterator[Utterance]:
    """The utterances as they are; each in which one of the ``sayings`` lies as a whole goes into ``count``."""
    for u in utterances:
        count["overheard"] += any(u.offset <= start and end <= u.offset + u.duration
                                  for start, end in sayings.get(u.path, ()))
        yield u
