"""One process at a time trains a run: it holds a lock on the run's folder, which ends with it, however it ends."""

import os
from contextlib import suppress
from pathlib import Path

from data.base.errors import UserError
from data.base.files import lock

_held: dict[str, int] = {}  # descriptors that hold the locks, by folder


def claim(folder: Path, flag: str) -> None:
    """Make a run's folder, if it is not there, and make it this process's own until `release` or the process's end.

    Where a system or a drive has no locks, every claim is granted.

    Raises:
        UserError: another process has it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.name == "nt":  # opens no folder
            return
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{folder}: this run's folder cannot be used ({error.strerror}); mend that, or choose another "
                        f"{flag} or --runs_dir") from error
    key = os.path.realpath(folder)
    if key in _held:
        if os.path.samestat(os.fstat(_held[key]), os.fstat(descriptor)):
            os.close(descriptor)
            return
        release(folder)  # it was removed and made anew
    if lock(descriptor) is False:
        os.close(descriptor)
        raise UserError(f"{flag} {folder.name}: another process is training {folder} right now; wait for it, or choose "
                        f"another {flag}")
    _held[key] = descriptor


def release(folder: Path) -> None:
    """Leave a run's folder to others; nothing if it is not this process's."""
    with suppress(KeyError):
        os.close(_held.pop(os.path.realpath(folder)))
