"""A name and a folder for a data set, which no other data set has."""

import os
import re
from pathlib import Path

from data.base.errors import UserError
from data.base.files import check_name, open_regular
from data.manifests import SPLITS, read_registry


def claim(name: str, out: str | Path, registry: str | Path, command: str, flag: str = "--name") -> None:
    """Make sure that a source may register ``name`` and write its manifests into ``out``.

    Args:
        command: the source's own, as ``python -m data.folder``: what it made itself it may replace.

    Raises:
        UserError: no name for a data set; the registry has it from another source; ``out`` holds the manifests of
            another data set, or files of their names that are none.
    """
    check_data_set_name(name, flag)
    entries = read_registry(registry) if Path(registry).exists() else {}
    made_by = str(entries.get(name, {}).get("made_by", ""))
    if name in entries and not f"{made_by} ".startswith(f"{command} "):
        raise UserError(f"{flag} {name!r}: {registry} has another data set of that name"
                        + (f" (made by {made_by})" if made_by else "") + "; choose another name")
    ours = {os.path.realpath(Path(out) / f"{split}.json") for split in SPLITS}
    for other, entry in entries.items():
        theirs = {os.path.realpath(Path(registry).absolute().parent / str(entry.get(split))) for split in SPLITS}
        if other != name and ours & theirs:
            raise UserError(f"--out {out}: has the manifests of the data set {other!r} in it; choose another folder")
    for path in sorted(ours):
        if os.path.exists(path) and not _is_manifest(path):
            raise UserError(f"{path}: is no manifest, so it is not replaced; choose another folder with --out")


def check_data_set_name(name: str, flag: str = "--name") -> str:
    """``name``, if it can be that of a data set, which is also a folder's. Raises UserError, naming the flag."""
    check_name(flag, name)
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(f"{flag} {name!r}: use letters, digits, '-', '_' and '.', beginning with a letter or digit")
    return name


def _is_manifest(path: str) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(1000).lstrip().startswith((b'{"audio_filepath"', b'{"audio_filename"'))
    except OSError:
        return False
