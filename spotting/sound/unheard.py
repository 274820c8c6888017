"""Sound in a file after what libsndfile reads of it: files joined end to end, and headers that say too little."""

import os
import re

import soundfile

from data.base.files import open_regular

_UNKNOWN = re.compile(r"Unknown chunk marker \(.*?\) at position (\d+)")
_TAGS = 4096  # bytes that titles and the like may have at a file's end


def goes_on(file: soundfile.SoundFile, path: str) -> bool:
    """Whether an open file has more sound than is read of it, as far as its format tells."""
    size = os.path.getsize(path)
    if file.format == "OGG":
        return "Junk after the last page" in file.extra_info
    if file.format.startswith("WAV"):
        found = _UNKNOWN.search(file.extra_info)
        return found is not None and size - int(found[1]) > _TAGS
    return file.format == "MP3" and _after_mp3(path, size) > _TAGS


def _after_mp3(path: str, size: int) -> int:
    """Bytes after as many as the first frame of an MP3 file says it has; 0 where it does not say."""
    with open_regular(path) as file:
        head = file.read(1 << 16)
    at = max(head.find(b"Xing"), head.find(b"Info"))
    if at < 0:
        return 0
    flags, count, stated = (int.from_bytes(head[at + i:at + i + 4], "big") for i in (4, 8, 12))
    if flags & 2 == 0:
        return 0
    stated = stated if flags & 1 else count
    return size - at - stated - stated // 50
