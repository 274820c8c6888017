"""The registry of data sets (manifests.json): read, add to it, and claim a name and a folder in it."""

import json
import os
import re
from pathlib import Path

from data.base.errors import UserError, did_you_mean
from data.base.files import ROOT, check_name, locked, misshapen, open_regular, read_json, write_atomically
from data.manifests.manifest import relative

REGISTRY = ROOT / "manifests.json"
SPLITS = ("train", "dev", "test")
_ENTRY = {"labels": [str], "noise": str, "new_words": str, "made_by": str}  # of an entry, its splits apart


def read_registry(registry: str | Path = REGISTRY) -> dict[str, dict]:
    """The registered data sets by name. Raises UserError when the file is missing or no JSON object of objects."""
    return read_json(registry, "registry of manifests", "mend it, or name another with --registry", {str: dict})


def registered(name: str, registry: str | Path = REGISTRY) -> dict:
    """The registry's entry for ``name``. Raises UserError where there is none, or it has another shape."""
    entries = read_registry(registry)
    if name not in entries:
        raise UserError(f"--manifest {name!r} is not registered in {registry}{did_you_mean(name, entries)}; "
                        f"known: {', '.join(entries) or 'none yet'}")
    if problem := misshapen(entries[name], _ENTRY):
        raise UserError(f"{registry}: entry {name!r}: {problem}")
    return entries[name]


def register(name: str, *, train: Path, dev: Path, test: Path, noise: Path | None = None,
             new_words: Path | None = None, made_by: str | None = None, registry: str | Path = REGISTRY) -> None:
    """Add or replace ``name`` in the registry, with paths relative to the registry's folder, under a lock.

    ``new_words`` is a manifest of words that no split has, to judge an encoder by while it is trained; ``made_by`` the
    command that makes these manifests, shown to a user who does not have them yet.
    """
    registry = Path(registry)
    folder = registry.absolute().parent
    paths = {"train": train, "dev": dev, "test": test}
    paths |= {key: path for key, path in (("noise", noise), ("new_words", new_words)) if path}
    entry = {key: relative(path, folder) for key, path in paths.items()}
    if made_by:
        entry["made_by"] = made_by
    folder.mkdir(parents=True, exist_ok=True)
    with locked(os.path.dirname(os.path.realpath(registry))):
        entries = read_registry(registry) if registry.exists() else {}
        if entries.get(name) == entry:
            return
        entries[name] = entry
        with write_atomically(registry) as file:
            try:
                json.dump(entries, file, indent=2, ensure_ascii=False)
            except UnicodeEncodeError:
                raise UserError(f"{name!a}: its name or its folders' is not valid UTF-8; choose another") from None
            file.write("\n")


def claim_name(name: str, out: str | Path, registry: str | Path, command: str, flag: str = "--name") -> None:
    """Raise UserError unless a source may register ``name`` and write its manifests into ``out``. What its own
    ``command``, as ``python -m data.folder``, has made it may replace."""
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
