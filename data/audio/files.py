"""Audio files in a folder, by their endings; and writing one."""

import io
import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
import soundfile

from data.base.errors import UserError

# Endings of recordings that libsndfile does not read, or, .raw, cannot tell the rate of.
UNREADABLE = {"3gp", "aac", "ac3", "amr", "ape", "dsf", "m4a", "m4b", "mka", "mkv", "mov", "mp4", "ra", "raw", "spx",
              "tta", "webm", "wma", "wv"}


def audio_files(folder: str | Path, endings: Collection[str] | None = None) -> list[str]:
    """The audio files in a folder and those below it, sorted; hidden ones, as a Mac's ``._hum.wav``, are left out.

    Args:
        endings: of names, in lower case, without the dot; those of the formats that libsndfile reads by default.

    Raises:
        OSError: the folder, or one in it, is missing or cannot be read.
    """
    def refuse(error: OSError) -> None:
        raise error

    if endings is None:  # a .raw file does not tell its rate
        endings = {ending.lower() for ending in soundfile.available_formats()} - {"raw"}
        endings |= {"aif", "aifc", "oga", "opus", "sph"}
    found, seen = [], set()
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        seen.add(os.path.realpath(parent))  # links may lead round in a circle
        folders[:] = [name for name in folders if not name.startswith(".")
                      and os.path.realpath(os.path.join(parent, name)) not in seen]
        found += [os.path.join(parent, name) for name in names
                  if not name.startswith(".") and os.path.splitext(name)[1][1:].lower() in endings]
    return sorted(found)


def find_noise(folder: str | Path) -> tuple[list[Path], list[Path]]:
    """Recordings of noise below a folder, at any depth, sorted; and those in formats that cannot be read, by endings.

    Two empty lists if there is no such folder. Raises UserError where it, or one in it, cannot be read.
    """
    if not os.path.isdir(folder):
        return [], []
    try:
        found = [audio_files(folder, endings) for endings in (None, UNREADABLE)]
    except OSError as error:
        raise UserError(f"{error.filename}: this folder of noise recordings cannot be read ({error.strerror}); mend "
                        "its permissions, or name another folder") from None
    return [*map(Path, found[0])], [*map(Path, found[1])]


def write_sound(path: Path, samples: np.ndarray, rate: int = 16_000) -> None:
    """Write (T,) int16 as the WAV or FLAC file that its ending names. Raises OSError, also on a full disk."""
    content = io.BytesIO()  # libsndfile would not tell what went wrong
    soundfile.write(content, samples, rate, "PCM_16", format=path.suffix[1:])
    path.write_bytes(content.getvalue())
