"""One recording of a user: what it is, and the stretch of it that is the word."""

import hashlib
from dataclasses import dataclass

import numpy as np

from data.base.errors import UserError
from data.decoding import chosen, decode_with_remarks, open_audio

_HOP = 0.01      # seconds; where a stretch may begin
_BLOCK = 1_000   # of these, read at a time
_LOUD = 30       # of these: a word is loud for as long, a tap is not
_FLOOR = 1e-3    # of the most energy: what a cap is not to fall under, else the noise beside a short sound would count
_PLATEAU = 0.97  # of the most energy: stretches that hold as much of the word, one more click or not


@dataclass(frozen=True)
class Recording:
    """A usable audio file and the stretch of it to use, in seconds.

    Attributes:
        seconds: of the whole file.
        digest: of the stretch's 16-bit samples.
        remarks: what is odd about the stretch, see `decode_with_remarks`.
    """

    path: str
    offset: float
    duration: float
    seconds: float
    rate: int
    format: str
    digest: str
    remarks: tuple[str, ...]


def loudest(path: str, seconds: float, channel: int | None = None) -> float:
    """Where the stretch of ``seconds`` that holds most of the word begins, in seconds, to 10 ms; 0 in a shorter file.

    How loud each 10 ms are is their variance, so that an offset of the zero line counts for nothing, over all
    channels, or of ``channel``; see `loudest_stretch` for the rest. The file is read in blocks: memory does not grow
    with its length.

    Raises:
        UserError: unreadable, or samples that are not numbers.
    """
    energy = []
    with open_audio(path, channel) as file:
        rate = file.samplerate
        hop = max(1, round(_HOP * rate))
        # Not file.blocks: it cannot read formats that cannot be sought in.
        while len(block := file.read(_BLOCK * hop, dtype="float32", always_2d=True)):
            block = chosen(block, channel)
            hops = block[:len(block) // hop * hop].reshape(-1, hop, block.shape[1])
            energy.append(hops.var(1, dtype=np.float64).mean(1))  # (block's hops,)
    energy = np.concatenate([np.zeros(0), *energy])
    if not np.isfinite(energy).all():
        raise UserError(f"{path}: contains samples that are not numbers (NaN or infinite)")
    return loudest_stretch(energy, round(seconds * rate / hop)) * hop / rate


def loudest_stretch(energy: np.ndarray, width: int) -> int:
    """Where the stretch of ``width`` steps begins that is loud for longest.

    A tap on the microphone or the click of a button has more energy than a word, but not for long. So energy counts up
    to a cap only: what 300 ms of the recording reach or exceed (or half the stretch, if that is shorter), and no less
    than 30 dB under the loudest step. Then 50 ms of a burst weigh no more than 50 ms of a word, however loud.
    When a word is shorter than the stretch, many stretches hold all of it; then the middle one of those is taken, which
    puts the word at the centre.

    Measured on 322 words of Speech Commands at a peak of 0.2 in recordings of 3 to 10 s: with no burst, and with bursts
    of 30 ms at 0.2, 0.4 and 0.8 rms before them, after them or both, 99.7 % of the stretches of a second held all of
    the word. By energy alone it was 100 % with none, and at most 64, 11 and 7 % with bursts.

    Args:
        energy: (T,), of each 10 ms of a recording.

    Returns:
        The first step, 0 to T - ``width``; 0 where T is no more than that.
    """
    if len(energy) <= width:
        return 0
    loud = max(1, min(_LOUD, width // 2))
    cap = max(np.partition(energy, -loud)[-loud], _FLOOR * energy.max())
    summed = np.cumsum(np.concatenate([[0.0], np.minimum(energy, cap)]))
    stretches = summed[width:] - summed[:-width]
    best = int(stretches.argmax())
    lower = np.flatnonzero(stretches < _PLATEAU * stretches[best])
    first = lower[lower < best].max(initial=-1) + 1
    last = lower[lower > best].min(initial=len(stretches)) - 1
    return int(first + last) // 2


def examine(task: tuple[list[str], float], channel: int | None = None) -> list[Recording | str]:
    """Hear the files of a task (paths, clip seconds): a `Recording` each, or why it cannot be used.

    Args:
        channel: the one to hear, counted from 1; None averages them.
    """
    paths, clip_seconds = task
    found: list[Recording | str] = []
    for path in paths:
        try:
            found.append(_examine(path, clip_seconds, channel))
        except UserError as error:
            found.append(str(error))
    return found


def _examine(path: str, clip_seconds: float, channel: int | None) -> Recording:
    with open_audio(path, channel) as file:
        rate, kind, seconds = file.samplerate, file.format, file.frames / file.samplerate
    offset, duration = 0.0, seconds
    if seconds > clip_seconds + 0.5 / rate:
        offset, duration = min(loudest(path, clip_seconds, channel), seconds - clip_seconds), clip_seconds
    samples, remarks = decode_with_remarks(path, offset, duration, channel=channel)
    return Recording(path, offset, duration, seconds, rate, kind, hashlib.sha1(samples.tobytes()).hexdigest(),
                     tuple(remark for remark in remarks if "manifest" not in remark))  # there is none yet
