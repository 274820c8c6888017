"""Clips with what is said around the word, as a spotter hears it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
import soundfile

from data.base.errors import UserError
from data.manifests.manifest import Utterance


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
        start, end = max(0.0, middle - seconds / 2), min(middle + seconds / 2, _seconds(u.path))
        yield replace(u, offset=start, duration=end - start)


class Overheard:
    """Counts clips in which a word is said that is to be no label: what surrounds another word is heard, too.

    Args:
        places: of each such saying the file, start and end, in seconds.
    """

    def __init__(self, places: Iterable[tuple[str, float, float]]):
        self.clips, self._places = 0, defaultdict(list)
        for path, start, end in places:
            self._places[path].append((start, end))

    def counted(self, utterances: Iterable[Utterance]) -> Iterator[Utterance]:
        """The utterances as they are; each in which such a word lies as a whole counts."""
        for u in utterances:
            self.clips += any(u.offset <= start and end <= u.offset + u.duration
                              for start, end in self._places.get(u.path, ()))
            yield u


@lru_cache(1000)  # a word's neighbours in the list are often of other files, but never of all
def _seconds(path: str) -> float:
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}); mend or remove it, and run again") from None
    return info.frames / info.samplerate
