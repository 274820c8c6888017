"""The recordings in a folder of background noise."""

import os
from pathlib import Path

from data.base.errors import UserError

# Endings of recordings that libsndfile does not read, or, .raw, cannot tell the rate of.
UNREADABLE = {".3gp", ".aac", ".ac3", ".amr", ".ape", ".dsf", ".m4a", ".m4b", ".mka", ".mkv", ".mov", ".mp4", ".ra",
              ".raw", ".spx", ".tta", ".webm", ".wma", ".wv"}


def find_noise(folder: str | Path) -> tuple[list[Path], list[Path]]:
    """Recordings of noise below a folder, at any depth, sorted; and those in formats that cannot be read.

    By their endings: what is in the first list may still be broken. Hidden files are left out, so what a Mac keeps
    beside each file of a foreign disk (``._hum.wav``). Two empty lists if there is no such folder.

    Raises:
        UserError: the folder, or one in it, cannot be read.
    """
    import soundfile

    endings = {f".{ending.lower()}" for ending in soundfile.available_formats()} - UNREADABLE
    endings |= {".aif", ".aifc", ".oga", ".opus", ".snd", ".sph"}
    usable, unreadable = [], []
    folders, seen = [str(folder)] if os.path.isdir(folder) else [], {os.path.realpath(folder)}
    while folders:
        here = folders.pop()
        try:
            with os.scandir(here) as entries:
                found = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            raise UserError(f"{here}: this folder of noise recordings cannot be read ({error.strerror}); mend its "
                            "permissions, or name another folder") from None
        for entry in found:
            ending = os.path.splitext(entry.name)[1].lower()
            if os.path.isdir(entry.path):
                if (real := os.path.realpath(entry.path)) not in seen:  # else a circle of links would never end
                    seen.add(real)
                    folders.append(entry.path)
            elif os.path.isfile(entry.path) and ending in endings | UNREADABLE:
                (usable if ending in endings else unreadable).append(Path(entry.path))
    return sorted(usable), sorted(unreadable)
