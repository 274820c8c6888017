"""One recording of a user: what it is, and the stretch of it that is the word."""

import hashlib
from dataclasses import dataclass

import numpy as np

from data.audio.decoding import check_end, check_heard, chosen, decode_with_remarks, open_audio
from data.base.errors import UserError

_HOP = 0.01      # seconds; where a stretch may begin
_BLOCK = 1_000   # of these, read at a time
_LOUD = 30       # of these: a word is loud for as long, a tap is not
_TONE = 4        # of these are looked at together for a steady tone
_PURE = 0.9      # of their power lies, in a tone, at one frequency and the two on both sides
_LOWEST = 350    # Hz; below lie the fundamentals of voices, steady in some vowels
_EVEN = 1.4      # times: what a tone's power may change by from there to the next
_FLOOR = 1e-3    # of the most energy: what a cap is not to fall under, else the noise beside a short sound would count
_PLATEAU = 0.97  # of the most energy: stretches that hold as much of the word, one more click or not


@dataclass(frozen=True)
class Recording:
    """A usable audio file and the stretch of it to use, in seconds."""

    path: str
    offset: float
    duration: float
    seconds: float  # of the whole file
    digest: str  # of the stretch's 16-bit samples
    remarks: tuple[str, ...]  # what is odd about the stretch, see `decode_with_remarks`


def loudest(path: str, seconds: float, channel: int | None = None) -> float:
    """Where the stretch of ``seconds`` that holds most of the word begins, in seconds, to 10 ms; 0 in a shorter file.

    The loudness of each 10 ms is their variance, which an offset of the zero line does not change; see
    `loudest_stretch`. Raises UserError for what is unreadable, or samples that are not numbers.
    """
    energy, partials, heard = [], [], 0
    with open_audio(path, channel) as file:
        rate = file.samplerate
        hop = max(1, round(_HOP * rate))
        # Not file.blocks: it cannot read formats that cannot be sought in.
        while len(block := file.read(_BLOCK * hop, dtype="float32", always_2d=True)):
            block = chosen(block, channel)
            hops = block[:len(block) // hop * hop].reshape(-1, hop, block.shape[1])
            heard += len(block)
            energy.append(hops.var(1, dtype=np.float64).mean(1))  # (block's hops,)
            partials.append(strongest(block, hop))
        check_heard(path, heard, file.frames, rate)
    energy = np.concatenate([np.zeros(0), *energy])
    if not np.isfinite(energy).all():
        raise UserError(f"{path}: contains samples that are not numbers (NaN or infinite)")
    if len(energy):
        energy[in_tones(np.concatenate(partials), len(energy))] = 0
    return loudest_stretch(energy, round(seconds * rate / hop)) * hop / rate


def strongest(samples: np.ndarray, hop: int) -> np.ndarray:
    """Of every 40 ms of (T, C) samples, ``hop`` in 10 ms, (T // (4 ``hop``), 3): the number of the strongest frequency,
    in steps of 25 Hz; the share of the power that lies there; and all power."""
    width = _TONE * hop
    parts = samples[:len(samples) // width * width].reshape(-1, width, samples.shape[1])
    power = np.square(np.abs(np.fft.rfft(parts * np.hanning(width)[:, None], axis=1))).sum(2)  # (n, F)
    power[:, :3] = 0  # an offset of the zero line, and hum
    top, total = power.argmax(1), power.sum(1)
    near = np.abs(np.arange(power.shape[1]) - top[:, None]) <= 2
    return np.stack([top, (power * near).sum(1) / np.maximum(total, 1e-20), total], 1)


def in_tones(partials: np.ndarray, steps: int) -> np.ndarray:
    """(``steps``,) bool, which 10 ms lie in a steady tone, such as a machine's beep, or beside it.

    A tone is one frequency, from 350 Hz up, that stays for 120 ms at least and as loud. A vowel is not: it has several
    strong harmonics, and they move. ``partials`` are (n, 3), as `strongest` gives them.
    """
    if len(partials) < 3:
        return np.zeros(steps, bool)
    top, share, power = partials.T
    pure = (share > _PURE) & (top * 25 >= _LOWEST)
    same = pure[1:] & pure[:-1] & (np.abs(np.diff(top)) <= 1)
    same &= np.abs(np.diff(np.log(np.maximum(power, 1e-20)))) < np.log(_EVEN)
    tone = np.zeros(len(top) + 2, bool)
    for shift in range(5):  # three in a row, and where the tone begins and ends beside them
        tone[shift:len(top) - 2 + shift] |= same[1:] & same[:-1]
    tone = np.repeat(tone[1:-1], _TONE)[:steps]
    return np.pad(tone, (0, steps - len(tone)))


def loudest_stretch(energy: np.ndarray, width: int) -> int:
    """Where the stretch of ``width`` steps of ``energy`` (T,) begins that is loud for longest: 0 to T - ``width``.

    A tap on the microphone has more energy than a word, but not for long. So energy counts up to a cap: what 300 ms of
    the recording reach (or half the stretch, if that is shorter), and no less than 30 dB under the loudest step. Of
    many stretches that hold all of a short word the middle one is taken.
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


def examine(paths: list[str], clip_seconds: float, channel: int | None = None) -> list[Recording | str]:
    """Hear files: a `Recording` each, or why it cannot be used. ``channel`` counts from 1; None averages them."""
    found: list[Recording | str] = []
    for path in paths:
        try:
            found.append(_examine(path, clip_seconds, channel))
        except UserError as error:
            found.append(str(error))
    return found


def _examine(path: str, clip_seconds: float, channel: int | None) -> Recording:
    with open_audio(path, channel) as file:
        rate, seconds = file.samplerate, file.frames / file.samplerate
        beyond = check_end(file, path)
    offset, duration = 0.0, seconds
    if seconds > clip_seconds + 0.5 / rate:
        offset, duration = min(loudest(path, clip_seconds, channel), seconds - clip_seconds), clip_seconds
    samples, remarks = decode_with_remarks(path, offset, duration, channel=channel)
    return Recording(path, offset, duration, seconds, hashlib.sha1(samples.tobytes()).hexdigest(),
                     tuple(remark for remark in beyond + remarks if "manifest" not in remark))  # there is none yet
