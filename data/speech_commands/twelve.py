"""The 12-class task of Speech Commands: ten command words, "_unknown_" for any other word, and "_silence_".

The published test set holds 408 clips each of the two next to 4,074 of the ten words: a tenth, rounded up.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.audio.decoding import SAMPLE_RATE, decode, open_audio
from data.audio.files import find_noise
from data.base.errors import UserError
from data.manifests.manifest import Utterance
from data.sources.splits import Splits
from data.speech_commands.labels import COMMANDS, SILENCE, UNKNOWN

SHARE = 0.1  # of the ten words' clips, for each of the two others
STRETCHES = {"train": (0.0, 0.8), "dev": (0.8, 0.9), "test": (0.9, 1.0)}  # parts of every noise file
_STEPS = 100  # starts a second that silence clips may have
_RINGS = SAMPLE_RATE // 50  # samples that a sound reaches beyond its end when it is resampled, and more


def share(words: int) -> int:
    """How many clips of other words, and how many of silence, go with so many clips of the ten words."""
    return math.ceil(round(SHARE * words, 6))


def with_unknown(splits: Splits, seed: int = 0) -> Splits:
    """The ten words' clips, and `share` others of every split as `UNKNOWN`: those with the lowest SHA-1 of the seed and
    the clip's ``word/file``, so that the draw depends on nothing but the names."""
    def rank(clip: Utterance) -> str:
        return hashlib.sha1(f"{seed} {'/'.join(Path(clip.path).parts[-2:])}".encode()).hexdigest()

    drawn = {}
    for split, clips in splits.items():
        words = [clip for clip in clips if clip.label in COMMANDS]
        others = sorted((clip for clip in clips if clip.label not in COMMANDS), key=rank)
        if not others:
            raise UserError(f"no clip of another word in {split}; the 12-class task needs words beside its ten")
        drawn[split] = words + [replace(clip, label=UNKNOWN) for clip in others[:share(len(words))]]
    return drawn


def silence(noise: Path, counts: dict[str, int]) -> Splits:
    """One-second clips of background noise, as offsets into its long files; ``counts`` is how many, by split.

    Every file's first 80 % are for train, the next 10 % for dev, the rest for test, so no sample is in two splits.
    A split's clips lie evenly over all that it may use; a second that is silent to the bit is passed over.
    """
    files = find_noise(noise)
    if not files:
        raise UserError(f"{noise}: no recording of background noise, which the class {SILENCE!r} is made from")
    starts = {split: [(file, start) for file in files for start in _starts(file, split)] for split in counts}
    clips = {}
    for split, count in counts.items():
        if count > len(starts[split]):
            raise UserError(f"{noise}: room for {len(starts[split]):,} different seconds of {split}, but {count:,} are "
                            "needed; add longer recordings of noise")
        chosen = [starts[split][i * len(starts[split]) // count] for i in range(count)]
        clips[split] = [Utterance(str(file), SILENCE, 1.0, start / _STEPS) for file, start in chosen]
    return clips


def _starts(file: Path, split: str) -> Sequence[int]:
    """Where a clip of ``split`` may start in a noise file, in steps."""
    with open_audio(str(file)) as sound:
        rate, seconds = sound.samplerate, sound.frames / sound.samplerate
    first, last = (stretch * seconds * _STEPS for stretch in STRETCHES[split])
    first, last = math.ceil(first), math.floor(last) - _STEPS
    if last < first:
        return []
    heard = np.concatenate([[0], np.cumsum(decode(str(file)) != 0)])
    starts = np.arange(first, last + 1)
    # Resampled as a whole, a sound rings into the silence beside it; resampled alone, the silence is silent.
    margin = 0 if rate == SAMPLE_RATE else _RINGS
    begin = starts * SAMPLE_RATE // _STEPS + margin
    end = np.minimum(begin + SAMPLE_RATE - 2 * margin, len(heard) - 1)
    return starts[heard[end] > heard[np.minimum(begin, len(heard) - 1)]].tolist()

