"""Sound of any length as blocks of 16 kHz int16: from files of any format, or raw samples of a stream.

The sizes of the blocks change nothing: together they are what `data.audio.decoding.decode` gives of the whole.
"""

import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from data.audio.decoding import SAMPLE_RATE, check_channel, chosen, open_audio, to_int16
from data.audio.files import UNREADABLE, audio_files, goes_on, is_cut
from data.base.errors import UserError

BLOCK = 1.0  # seconds read at a time
QUIET = 64  # of a window's highest sample less its lowest, of 65,536
PCM = {"s16": np.dtype("<i2"), "f32": np.dtype("<f4")}
_LOUD = 1.5  # full scales; lossy coding and mixing may go up to here
_MP3 = (b"ID3", b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2")  # what one can begin with


@dataclass
class Sound:
    """A recording to be heard once."""

    name: str  # as the user named it
    blocks: Iterator[np.ndarray]  # its samples, (n,) int16 at 16 kHz, any n
    seconds: float | None = None  # how long its header says it is; None if nobody knows
    whole: bool = True  # False as soon as it is known that some of it is not heard, which is told


def open_file(path: str | Path, warn: Callable[[str], None], start: float = 0.0, end: float | None = None,
              block: float = BLOCK, channel: int | None = None) -> Sound:
    """A file's sound, from ``start`` to ``end`` seconds: one channel, counted from 1, or the mean of all. Raises
    UserError: as `data.audio.decoding.open_audio`; and from its blocks, at samples that are no numbers or far above
    full scale."""
    path = os.fspath(path)
    sound = Sound(path, iter(()))

    def partly(why: str) -> None:
        sound.whole = False
        warn(f"{path}: {why}")

    with open_audio(path, channel) as file:
        rate, channels = file.samplerate, 1 if channel else file.channels
        exact = file.subtype == "PCM_16" and rate == SAMPLE_RATE and file.channels == 1
        first, last = (file.frames if at is None else min(round(at * rate), file.frames) for at in (start, end))
        if end is None and is_cut(file):
            partly(f"ends early: the page that marks its end is missing after {last / rate:.1f} s; is it complete?")
        if end is None and goes_on(file, path):
            partly(f"goes on after the {last / rate:.1f} s that its header gives, of which nothing is heard (several "
                   "files joined into one, or more than 4 GB?); convert it anew, or give its parts")

    def frames() -> Iterator[np.ndarray]:
        done, size, power = 0, max(1, round(block * rate)), np.zeros(2)
        with open_audio(path) as file:
            while done < last:
                # What lies before the start is read, too: not all formats can be sought in.
                part = chosen(file.read(min(size, (first if done < first else last) - done),
                                        dtype="int16" if exact else "float32", always_2d=True), channel)
                if not len(part):
                    break
                if done >= first:
                    power += 0 if exact else (np.square(part.mean(1)).sum(), np.square(part).sum() / channels)
                    yield part
                done += len(part)
        if done < last - rate // 10:
            partly(f"ends early: its header says {last / rate:.1f} s, but {done / rate:.1f} s can be read")
        if channels > 1 and power[0] < 0.2 / channels * power[1]:
            warn(f"{path}: its channels cancel out when averaged, so little of it was heard; choose one with --channel")

    sound.blocks, sound.seconds = at_16_khz(frames(), rate, path), (last - first) / rate
    return sound


def open_raw(stream: BinaryIO, name: str, rate: int, channels: int, encoding: str, warn: Callable[[str], None],
             block: float = BLOCK, channel: int | None = None) -> Sound:
    """Raw samples, encoded as `PCM` says, that come through a pipe; passed on as they come, ``block`` seconds at most.
    Raises UserError: no such channel; and from its blocks, as `open_file`, and at a file in place of raw samples."""
    check_channel(f"{name} (--channels {channels})", channel, channels)
    sample = PCM[encoding]
    frame = sample.itemsize * channels
    size = max(1, round(block * rate)) * frame

    def frames() -> Iterator[np.ndarray]:
        left, begun = b"", False
        while data := stream.read1(size):
            data = left + data
            if not begun and (kind := file_format(data)):
                raise UserError(f"{name}: begins as a file of the format {kind} does; send samples without a header")
            begun = True
            whole = len(data) // frame * frame
            left = data[whole:]
            if whole:
                yield chosen(np.frombuffer(data[:whole], sample).reshape(-1, channels), channel)
        if left:
            warn(f"{name}: ended in the middle of a sample; its last {len(left)} bytes are left out")

    return Sound(name, at_16_khz(frames(), rate, name))


def file_format(data: bytes) -> str | None:
    """The format of the file whose first bytes these are; None if they may be raw samples."""
    if data[4:8] == b"ftyp":
        return "MP4"
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            kind = file.format
    except soundfile.SoundFileError:
        return None
    return None if kind == "MP3" and not data.startswith(_MP3) else kind  # faint noise can look like the middle of one


def at_16_khz(blocks: Iterable[np.ndarray], rate: int, name: str) -> Iterator[np.ndarray]:
    """Blocks (n, C) of floats or int16 at ``rate`` as mono int16 at 16 kHz: the channels' mean, resampled."""
    resampler, done = None, 0
    for block in blocks:
        if block.dtype.kind == "i":
            if rate == SAMPLE_RATE and block.shape[1] == 1:
                yield np.ascontiguousarray(block[:, 0], np.int16)
                continue
            block = block.astype(np.float32) / 32768
        if not np.isfinite(block).all():
            at = done + int(np.argmin(np.isfinite(block).all(1)))
            raise UserError(f"{name}: samples that are not numbers (NaN or infinite), the first at {at / rate:.2f} s")
        if (peak := np.abs(block).max(initial=0)) > _LOUD:
            raise UserError(f"{name}: its samples reach {peak:g} times full scale, as integers written as floats do")
        done += len(block)
        mono = block.mean(1, dtype=np.float32)
        if rate != SAMPLE_RATE:
            resampler = resampler or soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
            mono = resampler.resample_chunk(mono)
        if len(mono):
            yield to_int16(mono)
    if resampler:
        yield to_int16(resampler.resample_chunk(np.zeros(0, np.float32), last=True))


def before(length: int, hop: int) -> int:
    """How many windows begin before a sound's first sample, so that a word there lies in the middle of one."""
    return length // 2 // hop


def windows(blocks: Iterable[np.ndarray], length: int, hop: int, batch: int, more: int = 0
            ) -> Iterator[tuple[int, np.ndarray]]:
    """Overlapping windows of a sound in silence: the n-th begins at sample n ``hop``.

    The first window is the one of the number -`before`; the last is the first that reaches as far beyond the sound's
    end, or one of so many ``more``. A sound without samples has none. Yields the number of a batch's first window, and
    the batch (B, ``length``) int16; B is ``batch`` but for the last.
    """
    need, early, first = (batch - 1) * hop + length, before(length, hop), 0  # ``first`` counts from 0 on here
    blocks = iter(blocks)
    begun = next((block for block in blocks if len(block)), None)
    if begun is None:
        return
    samples = edge = np.zeros(early * hop, np.int16)
    for block in itertools.chain([begun], blocks, [edge, np.zeros(more * hop, np.int16)]):
        samples = np.concatenate([samples, block])
        while len(samples) >= need:
            yield first - early, np.lib.stride_tricks.sliding_window_view(samples[:need], length)[::hop]
            first, samples = first + batch, samples[batch * hop:]
    count = max(0 if first else 1, 1 - (length - len(samples)) // hop)  # windows left; those yielded reach some way in
    if count:
        samples = np.pad(samples, (0, max(0, (count - 1) * hop + length - len(samples))))
        yield first - early, np.lib.stride_tricks.sliding_window_view(samples, length)[::hop][:count]


def has_sound(clips: np.ndarray) -> np.ndarray:
    """(B, S) int16 to (B,): whether something can have been said in a window, which is not so in one below -60 dB."""
    return clips.max(1).astype(np.int32) - clips.min(1) > QUIET


def files_of(paths: Sequence[str | Path], flag: str, say: Callable[[str], None]) -> list[str]:
    """The audio files that paths name: files, and all those below folders, in the order of their names. Raises
    UserError: a path that does not exist, or a folder without audio that can be read.

    ``say`` gets a line on recordings in folders whose formats cannot be read.
    """
    found: list[str] = []
    for path in map(os.fspath, paths):
        if not os.path.exists(path):
            raise UserError(f"{flag} {path}: no such file or folder; check the name")
        if not os.path.isdir(path):
            found.append(path)
            continue
        inside, others = audio_files(path), audio_files(path, UNREADABLE)
        left = "".join(f"{len(others)} in formats that cannot be read, such as {other}: convert them to WAV by ffmpeg"
                       for other in others[:1])
        if not inside:
            raise UserError(f"{flag} {path}: no audio file in this folder or below it" + f", but {left}" * bool(left))
        if left:
            say(f"{flag} {path}: left out {left}")
        found += inside
    return found
