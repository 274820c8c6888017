"""The recordings in a folder of background noise."""

import os
from pathlib import Path

from data.base.errors import UserError
from data.decoding import UNREADABLE, audio_files


def find_noise(folder: str | Path) -> tuple[list[Path], list[Path]]:
    """Recordings of noise below a folder, at any depth, sorted; and those in formats that cannot be read.

    By their endings: what is in the first list may still be broken. Hidden files are left out, so what a Mac keeps
    beside each file of a foreign disk (``._hum.wav``). Two empty lists if there is no such folder.

    Raises:
        UserError: the folder, or one in it, cannot be read.
    """
    if not os.path.isdir(folder):
        return [], []
    try:
        found = [audio_files(folder, endings) for endings in (None, UNREADABLE)]
    except OSError as error:
        raise UserError(f"{error.filename}: this folder of noise recordings cannot be read ({error.strerror}); mend "
                        "its permissions, or name another folder") from None
    usable, unreadable = ([Path(path) for path in paths] for paths in found)
    return usable, unreadable
