"""Audio files: found in a folder by their endings, written, and whether there is as much in one as its header says.

libsndfile reads no further than a header says, or takes less for all.
"""

import io
import mmap
import os
import re
from collections.abc import Collection
from pathlib import Path

import numpy as np
import soundfile

from data.base.errors import UserError
from data.base.files import open_regular
from data.base.find import CLOSED, walk

# Endings of recordings that libsndfile does not read, or, .raw, cannot tell the rate of.
UNREADABLE = {"3gp", "aac", "ac3", "amr", "ape", "dsf", "m4a", "m4b", "mka", "mkv", "mov", "mp4", "ra", "raw", "spx",
              "tta", "webm", "wma", "wv"}
GOES_ON = "go on after what their header says, of which nothing is heard (joined from several files?)"
_TAGS = 4096  # bytes that titles and the like may have at a file's end
_PADDING = 0.5  # seconds that an encoder adds to an MP3 file, at most
_SLACK = 64  # bytes that a header may count too many: some writers count the header itself
_STREAMED = 0x7FF0_0000  # bytes; what streaming writers put where they do not know the size is larger
# libsndfile takes what there is of a file cut short, but keeps what its header said in a log. A RIFF chunk is left out,
# for what follows a WAV's samples may well be missing.
_CUT = re.compile(r"^ *(?:data|riff|Riff size|SSND|Data Size|BODY) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_NO_END = re.compile("lacks an end-of-stream bit|without an End-Of-Stream flag")


def audio_files(folder: str | Path, endings: Collection[str] | None = None) -> list[str]:
    """The audio files in a folder and those below it, sorted, see `data.base.find.walk`; also those that cannot be
    reached or are no files, so that whoever opens them tells. Raises UserError where a folder cannot be read.

    ``endings`` of names are in lower case, without the dot; those of the formats that libsndfile reads by default.
    """
    if endings is None:  # a .raw file does not tell its rate
        endings = {ending.lower() for ending in soundfile.available_formats()} - {"raw"}
        endings |= {"aif", "aifc", "oga", "opus", "sph"}
    dotted = tuple(f".{ending}" for ending in endings)
    entries, problems = walk(folder, dotted)
    for kind, path, detail in problems:
        if kind == CLOSED:
            raise UserError(f"{path}: this folder of recordings cannot be read ({detail}); mend its permissions")
    return sorted([entry.path for entry in entries]
                  + [path for _, path, _ in problems if path.lower().endswith(dotted)])


def find_noise(folder: str | Path) -> list[Path]:
    """Recordings of noise below a folder, at any depth, sorted; none if there is no such folder."""
    return [*map(Path, audio_files(folder))] if os.path.isdir(folder) else []


def write_sound(path: Path, samples: np.ndarray) -> None:
    """Write (T,) int16 as the WAV or FLAC file that its ending names. Raises OSError, also on a full disk."""
    path.write_bytes(sound_file(samples, path.suffix[1:]))  # libsndfile would not tell what went wrong


def sound_file(samples: np.ndarray, kind: str = "FLAC", subtype: str = "PCM_16") -> bytes:
    """The file of (T,) int16 at 16 kHz."""
    content = io.BytesIO()
    soundfile.write(content, samples, 16_000, subtype, format=kind)
    return content.getvalue()


class _Endless(mmap.mmap):
    """A file's content, whose end a decoder cannot find by seeking, so that it must count."""

    def seek(self, offset: int, whence: int = 0) -> None:
        start = (0, self.tell(), -offset)[whence]
        super().seek(min(max(0, start + offset), len(self)))


def _content(path: str, kind: type[mmap.mmap] = mmap.mmap) -> mmap.mmap:
    """A file's content, which can be changed, and the file stays as it is."""
    with open_regular(path) as file:
        return kind(file.fileno(), 0, access=mmap.ACCESS_COPY)


def counted(file: soundfile.SoundFile, path: str) -> soundfile.SoundFile:
    """An open MP3 file; where no header gives its length, opened so that its frames are counted, not guessed."""
    again = soundfile.SoundFile(_content(path, _Endless))
    if again.frames != file.frames:
        return again
    again.close()
    return file


def is_cut(file: soundfile.SoundFile) -> bool:
    """Whether an open Ogg file lacks its last page; libsndfile takes what there is for all."""
    return file.format == "OGG" and _NO_END.search(file.extra_info) is not None


def missing(file: soundfile.SoundFile) -> tuple[int, int] | None:
    """The bytes of audio that the header of an open file gives, and the fewer that there are; None for a whole one."""
    found = _CUT.search(file.extra_info)
    stated, there = map(int, found.groups()) if found else (0, 0)
    return (stated, there) if there + _SLACK < stated < _STREAMED else None


def goes_on(file: soundfile.SoundFile, path: str) -> bool:
    """Whether an open file has more sound than is read of it, as far as its format tells."""
    with _content(path, _Endless if file.format == "MP3" else mmap.mmap) as data:
        if file.format == "OGG":  # a page that begins a stream, after one that does not
            return data.find(b"OggS\0\2" + bytes(8), max(0, data.find(b"OggS\0\0"))) > 0
        if file.format == "FLAC":
            return _flac_goes_on(data, file.frames)
        if file.format == "MP3":
            return _mp3_goes_on(data, file)
        return data[:4] in (b"RIFF", b"RF64") and _wav_goes_on(data)


def _flac_goes_on(data: mmap.mmap, frames: int) -> bool:
    start = data.find(b"fLaC")
    if any(data.find(b"fLaC" + last + b"\0\0\x22", start + 4) > 0 for last in (b"\0", b"\x80")):  # another file
        return True
    data[start + 21] &= 0xf0  # no length, so that the decoder goes as far as it can
    data[start + 22:start + 26] = bytes(4)
    try:
        with soundfile.SoundFile(data) as file:
            file.seek(frames)
            return len(file.read(1)) > 0
    except soundfile.SoundFileError:  # there is nothing there
        return False


def _mp3_goes_on(data: mmap.mmap, file: soundfile.SoundFile) -> bool:
    """Whether there are more frames than the first one says: without what it says, all are counted."""
    start = 0
    if data[:3] == b"ID3":
        start = 10 + sum((byte & 127) << 7 * (3 - i) for i, byte in enumerate(data[6:10]))
    for mark in (b"Xing", b"Info", b"VBRI"):
        if (at := data.find(mark, start, start + 2000)) >= 0:
            data[at:at + 4] = bytes(4)
    with soundfile.SoundFile(data) as all_of_it:
        return all_of_it.frames > file.frames + _PADDING * file.samplerate


def _wav_goes_on(data: mmap.mmap) -> bool:
    """Whether much follows the last chunk that belongs to a WAV file."""
    at, long, sound = 12, None, False
    while at + 8 <= len(data):
        name, size, begin = data[at:at + 4], int.from_bytes(data[at + 4:at + 8], "little"), at + 8
        if not re.fullmatch(rb"[ -~]{4}", name) or (sound and name in (b"RIFF", b"RF64", b"data")):
            break
        if name == b"ds64":
            long = int.from_bytes(data[at + 16:at + 24], "little")
        if name == b"data":
            sound = True
            if size == 0xFFFFFFFF and long is not None:
                size = long
            elif begin + size > len(data):  # written as a stream; what is cut short is refused before
                return False
        elif begin + size > len(data) + _TAGS:
            break
        at = begin + size + size % 2
    return sound and len(data) - at > _TAGS
