"""From audio files to 16 kHz mono samples: open, decode, resample, scale, fit."""

import math
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import soundfile
import soxr

from data.audio.files import GOES_ON, UNREADABLE, counted, goes_on, is_cut, missing
from data.base.errors import UserError
from data.base.files import check_regular, open_regular

SAMPLE_RATE = 16_000
TOLERANCE = 0.02  # seconds that a clip may pass its file's end: rounding, and the ends that aligners give
FEW_LEVELS = 16  # distinct values of a clip with fewer of which little of a word is left
SHORT = SAMPLE_RATE // 20  # samples; 50 ms are less than the shortest word
_PHONE = (b"#!AMR", b"\x1aE\xdf\xa3")  # how some of the phones' files begin, whatever their names
_ENDLESS = 2**48  # frames; libsndfile's answer for a FLAC header without a length is larger
# Peaks, in full scales.
_LOUD = 1.5  # lossy coding and mixing may go up to here, further only another scale of numbers
_ABSURD = 2.0**33  # no integer written as a float reaches this
_QUIET = 2.0**-8  # below, 16 bits have less than 8 of them left
_SILENT = 2.0**-24  # what 24 bits cannot tell from silence is taken for it
FLAT = 0.03  # of the loud samples, so many at the ends mean that it was recorded too loud
LOUD = "reach beyond full scale, as integers written as floats do, and were made quieter"
QUIET = "are so quiet that 16 bits would leave them few levels, and were made louder"
OVERDRIVEN = "are cut off at their peaks for much of the word, as what is recorded too loud is; record them again " \
             "at a lower level"
FEW = f"have fewer than {FEW_LEVELS} levels, so little of a word is left"
CANCELLED = "have channels that cancel out when averaged; their loudest channel was taken"
BRIEF = "are shorter than 50 ms"
PAST_END = "end before the duration that the manifest gives"


def check_channel(name: str, channel: int | None, channels: int) -> None:
    """Raise UserError unless a sound of so many channels has the one that --channel chooses, counted from 1."""
    if channel and channel > channels:
        raise UserError(f"{name}: --channel {channel}, but it has {channels} channel{'s' * (channels > 1)}; give a "
                        "number up to that, or leave --channel out to average them")


def chosen(samples: np.ndarray, channel: int | None) -> np.ndarray:
    """(T, C) to (T, 1): the channel that --channel chooses, counted from 1; (T, C) unchanged if it is None."""
    return samples if channel is None else samples[:, channel - 1:channel]


@contextmanager
def open_audio(path: str, channel: int | None = None) -> Iterator[soundfile.SoundFile]:
    """Open an audio file that is whole, as far as its header tells. Raises UserError, also while it is read."""
    try:
        check_regular(path)
        with soundfile.SoundFile(path) as plain, (
                counted(plain, path) if plain.format == "MP3" else nullcontext(plain)) as file:
            check_channel(path, channel, file.channels)
            if file.frames > _ENDLESS:
                raise UserError(f"{path}: its header does not say how long it is (a streamed file?); convert it anew")
            if file.frames == 0:
                raise UserError(f"{path}: has no audio in it" + (
                    ", its header says, though it is not empty (broken off while recording?); convert it anew"
                    if os.path.getsize(path) > 4096 else ""))
            if bytes_of := missing(file):
                raise UserError("{}: ends early: its header says {:,} bytes of audio, but it has {:,}; is the file "
                                "complete?".format(path, *bytes_of))
            if file.format == "MP3":  # some 35 ms after a seek are another signal, and soundfile seeks after every read
                file.seekable = lambda: False
            yield file
    except UnicodeError:
        raise UserError(f"{path!a}: the file's name is not valid UTF-8; rename it") from None
    except (soundfile.SoundFileError, OSError, TypeError) as error:  # TypeError: a .raw file, which has no header
        raise UserError(f"{path}: {_refusal(path, error)}") from None


def check_end(file: soundfile.SoundFile, path: str) -> list[str]:
    """`GOES_ON` of an open file that has more sound than is read of it. Raises UserError for an Ogg file cut short."""
    if is_cut(file):
        raise UserError(f"{path}: ends early: the page that marks its end is missing; is the file complete?")
    return [GOES_ON] if goes_on(file, path) else []


def check_heard(path: str, heard: int, frames: int, rate: int, start: int = 0) -> None:
    """Raise UserError if a tenth of a second or more is missing of the frames that there should be from ``start``."""
    if heard < frames - rate // 10:
        raise UserError(f"{path}: ends early: by its header it lasts to {(start + frames) / rate:g} s at least, "
                        f"but {heard / rate:g} s can be read from {start / rate:g} s on; is the file complete?")


def decode(path: str, offset: float = 0.0, duration: float | None = None, longest: float | None = None,
           channel: int | None = None) -> np.ndarray:
    """Decode part of an audio file to 16 kHz mono, (T,) int16.

    A part that passes full scale, as floats can, is made quieter by its own peak, never clipped. One so quiet that
    int16 would leave it few levels is made louder by a power of two. Channels are averaged unless that cancels them
    out; then the loudest is taken. Raises UserError for missing, unreadable, empty, truncated, all-zero or not-a-number
    audio, or an offset past its end.

    Args:
        path: any format, rate and number of channels that libsndfile reads.
        offset: start, seconds.
        duration: length, seconds; None, or more than there is, reads to the file's end.
        longest: of a part longer than this many seconds, only so much around its centre is decoded.
        channel: take this one, counted from 1, instead of the mean.
    """
    return decode_with_remarks(path, offset, duration, longest, channel)[0]


def decode_with_remarks(path: str, offset: float = 0.0, duration: float | None = None,
                        longest: float | None = None, channel: int | None = None) -> tuple[np.ndarray, list[str]]:
    """`decode`, and what is odd about the clip though it can be used, such as `LOUD`: phrases that go with "clips"."""
    with open_audio(path, channel) as file:
        rate, total = file.samplerate, file.frames
        start = round(offset * rate)
        if start >= total:
            raise UserError(f"{path}: offset {offset:g} s is past its end at {total / rate:g} s")
        frames = total - start if duration is None else min(round(duration * rate), total - start)
        if 2 * frames * SAMPLE_RATE < rate:
            raise UserError(f"{path}: {frames / rate if duration is None else duration:g} s from {offset:g} s on are "
                            "less than one sample")
        past_end = duration is not None and offset + duration > total / rate + TOLERANCE
        remarks = check_end(file, path) if duration is None else ([PAST_END] if past_end else [])
        if longest is not None and frames > (keep := -(-round(longest * SAMPLE_RATE) * rate // SAMPLE_RATE)):
            start, frames = start + (frames - keep) // 2, keep
        exact = file.subtype == "PCM_16" and rate == SAMPLE_RATE and file.channels == 1
        kept = file.subtype.startswith(("PCM", "FLOAT", "DOUBLE"))
        _go_to(file, start)
        samples = chosen(file.read(frames, dtype="int16" if exact else "float32", always_2d=True), channel)
    check_heard(path, len(samples), frames, rate, start)
    read = samples
    if exact:
        samples = samples[:, 0]
    else:
        samples, more = _scaled(soxr.resample(_mono(samples, path, remarks), rate, SAMPLE_RATE))
        remarks += more
    few = has_few_levels(samples)
    if few and not samples.any():
        raise UserError(f"{path}: silent to the bit"
                        + (f" from {offset:g} s to {offset + duration:g} s" if duration is not None else ""))
    if len(samples) < SHORT:
        remarks.append(BRIEF)
    elif few:
        remarks.append(FEW)
    elif is_overdriven(read, kept):
        remarks.append(OVERDRIVEN)
    return samples, remarks


def is_overdriven(samples: np.ndarray, kept: bool) -> bool:
    """Whether much of what is loud in (T, C) samples lies, three or more in a row, at the highest or the lowest value;
    or near these, where the file's coding has not ``kept`` the values."""
    for channel in samples.T.astype(np.float32):
        top, low = float(channel.max()), float(channel.min())
        slack, flat = (top - low) * (2.0**-12 if kept else 0.05), 0
        if not kept:  # where it is cut off, lossy coding swings about full scale
            top, low = min(top, 1.0), max(low, -1.0)
        for end in (channel >= top - slack, channel <= low + slack):
            if np.count_nonzero(end) > FLAT / 10 * len(channel):  # mostly it is not, and the rest costs more
                flat += np.count_nonzero(end[:-2] & end[1:-1] & end[2:])
        if flat and slack and flat > FLAT * np.count_nonzero(np.abs(channel) > 0.1 * max(top, -low)):
            return True
    return False


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Full scale +-1 (float) to int16, rounded and clipped."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


def has_few_levels(samples: np.ndarray) -> bool:
    """Whether (T,) samples have fewer than `FEW_LEVELS` distinct values. A sixty-fourth of them mostly tells."""
    step = max(1, len(samples) // 64)
    return len(set(samples[::step].tolist())) < FEW_LEVELS and len(np.unique(samples)) < FEW_LEVELS


def fit(samples: np.ndarray, length: int, centred: bool = False) -> np.ndarray:
    """(T,) to (length,) samples: a longer clip is cut around its centre, a shorter one zero-padded at its end, or at
    both ends if ``centred``."""
    if len(samples) > length:
        start = (len(samples) - length) // 2
        return samples[start:start + length]
    first = (length - len(samples)) // 2 * centred
    return np.pad(samples, (first, length - len(samples) - first))


def _refusal(path: str, error: Exception) -> str:
    """Why a file could not be opened or read; libsndfile says "System error" to most."""
    try:
        with open_regular(path) as file:
            head = file.read(12)
        phone = head[4:8] == b"ftyp" or head.startswith(_PHONE) or os.path.splitext(path)[1][1:].lower() in UNREADABLE
        return f"cannot be decoded ({error if head else 'it is empty'})" + (
            f"; convert it, for instance by ffmpeg -i {shlex.quote(path)} recording.wav" if head and phone else "")
    except FileNotFoundError:
        return "no such audio file"
    except OSError as refused:
        return f"cannot be decoded ({refused.strerror})"


def _go_to(file: soundfile.SoundFile, start: int) -> None:
    """Go to a frame of a file just opened: telephone formats can only be read from the beginning, and what follows a
    seek in an MP3 is wrong, so it is read and forgotten."""
    before = start
    if file.format == "MP3":
        before = min(start, file.samplerate // 2)
        file.seek(start - before)
    elif start and file.seekable():
        file.seek(start)
        return
    while before > 0 and (passed := len(file.read(min(before, 1 << 16), dtype="int16"))):
        before -= passed


def _mono(samples: np.ndarray, path: str, remarks: list[str]) -> np.ndarray:
    """(T, C) float32 to (T,): the channels' mean, or the loudest of channels that cancel each other out."""
    if not np.isfinite(samples).all():
        raise UserError(f"{path}: contains samples that are not numbers (NaN or infinite)")
    if (peak := np.abs(samples).max()) > _ABSURD:
        raise UserError(f"{path}: its samples reach {peak:g} times full scale; is it audio? Convert it anew")
    channels = samples.shape[1]
    if channels == 1:
        return samples[:, 0]
    mean, power = samples.mean(1), np.square(samples).mean(0)  # (T,), (C,)
    # Channels that have nothing in common leave 1 / C of their power, as does a single one that is on.
    if np.square(mean).mean() < 0.2 / channels * power.mean():
        remarks.append(CANCELLED)
        return samples[:, power.argmax()]
    return mean


def _scaled(samples: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """(T,) floats to int16 without clipping, or losing what a quiet recording has; and the remarks on that."""
    peak = float(max(samples.max(), -samples.min()))
    if peak > 1:
        return to_int16(samples / peak), [LOUD] * (peak > _LOUD)
    if peak < _SILENT:
        return np.zeros(len(samples), np.int16), []
    if peak < _QUIET:
        return to_int16(samples * 2.0 ** -math.frexp(2 * peak)[1]), [QUIET]
    return to_int16(samples), []
