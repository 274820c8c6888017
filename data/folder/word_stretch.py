"""One recording of a user: what it is, and the stretch of it that is the word."""

import hashlib
from dataclasses import dataclass

import numpy as np
import soundfile

from data.audio import decode
from data.base.errors import UserError

_HOP = 0.01      # seconds; where a stretch may begin
_PLATEAU = 0.99  # of the most energy: stretches that hold as much of the word


@dataclass(frozen=True)
class Recording:
    """A usable audio file and the stretch of it to use, in seconds; ``digest`` is that of the stretch's samples."""

    path: str
    offset: float
    duration: float
    seconds: float
    rate: int
    format: str
    digest: str


def loudest(path: str, seconds: float) -> float:
    """Where the stretch of ``seconds`` with the most energy begins, in seconds, to 10 ms.

    Energy is the variance in each 10 ms, so that an offset of the zero line counts for nothing. When a word is
    shorter than the stretch, many stretches hold all of it; then the middle one of those is taken, which puts the
    word at the centre. The file is read in blocks: memory does not grow with its length.

    Raises:
        UserError: unreadable, or samples that are not numbers.
    """
    energy = []
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            hop = max(1, round(_HOP * rate))
            for block in file.blocks(1_000 * hop, dtype="float32", always_2d=True):
                hops = block[:len(block) // hop * hop].mean(1, dtype=np.float64).reshape(-1, hop)
                energy.append(hops.var(1))
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f"{path}: cannot be decoded ({error})") from None
    energy = np.concatenate([[0.0], *energy])
    if not np.isfinite(energy).all():
        raise UserError(f"{path}: contains samples that are not numbers (NaN or infinite)")
    width = round(seconds * rate / hop)
    if len(energy) - 1 <= width:
        return 0.0
    summed = np.cumsum(energy)
    stretches = summed[width:] - summed[:-width]
    best = int(stretches.argmax())
    lower = np.flatnonzero(stretches < _PLATEAU * stretches[best])
    first = lower[lower < best].max(initial=-1) + 1
    last = lower[lower > best].min(initial=len(stretches)) - 1
    return int(first + last) // 2 * hop / rate


def examine(task: tuple[list[str], float]) -> list[Recording | str]:
    """Hear the files of a task (paths, clip seconds): a `Recording` each, or why it cannot be used."""
    paths, clip_seconds = task
    found: list[Recording | str] = []
    for path in paths:
        try:
            found.append(_examine(path, clip_seconds))
        except UserError as error:
            found.append(str(error))
    return found


def _examine(path: str, clip_seconds: float) -> Recording:
    try:
        about = soundfile.info(path)
    except Exception:
        decode(path)  # says what is wrong with it
        raise
    offset, duration = 0.0, about.frames / about.samplerate
    if duration > clip_seconds + 0.5 / about.samplerate:
        if duration < 1e9:  # else its header does not say how long it is, and decode will say that
            offset = min(loudest(path, clip_seconds), duration - clip_seconds)
        duration, seconds = clip_seconds, duration
    else:
        seconds = duration
    samples = decode(path, offset, duration)
    return Recording(path, offset, duration, seconds, about.samplerate, about.format,
                     hashlib.sha1(samples.tobytes()).hexdigest())
