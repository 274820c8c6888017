"""Audio files in a folder, by their endings; and writing one."""

import io
import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
import soundfile

from data.base.errors import UserError
from data.base.find import CLOSED, walk

# Endings of recordings that libsndfile does not read, or, .raw, cannot tell the rate of.
UNREADABLE = {"3gp", "aac", "ac3", "amr", "ape", "dsf", "m4a", "m4b", "mka", "mkv", "mov", "mp4", "ra", "raw", "spx",
              "tta", "webm", "wma", "wv"}


def audio_files(folder: str | Path, endings: Collection[str] | None = None) -> list[str]:
    """The audio files in a folder and those below it, sorted, see `data.base.find.walk`; also those that cannot be
    reached or are no files, so that whoever opens them tells. Raises UserError where a folder cannot be read.

    Args:
        endings: of names, in lower case, without the dot; those of the formats that libsndfile reads by default.
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
