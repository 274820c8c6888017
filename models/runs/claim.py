"""One process at a time trains a run: it locks the run's folder until it ends, however it ends."""

import os
from pathlib import Path

from data.base.errors import UserError
from data.base.files import lock

_claimed: dict[str, int] = {}  # descriptors that hold the locks, by folder


def claim(folder: Path, flag: str) -> None:
    """Make a run's folder, if it is not there, and lock it for this process; nothing where a drive has no locks. Raises
    UserError if another process has it, or it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.name == "nt":  # opens no folder
            return
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{folder}: this run's folder cannot be used ({error.strerror}); mend that, or choose another "
                        f"{flag} or --runs_dir") from error
    key = os.path.realpath(folder)
    if key in _claimed and os.path.samestat(os.fstat(_claimed[key]), os.fstat(descriptor)):
        os.close(descriptor)
        return
    if lock(descriptor) is False:
        os.close(descriptor)
        raise UserError(f"{flag} {folder.name}: another process is training {folder} right now; wait for it, or choose "
                        f"another {flag}")
    _claimed[key] = descriptor
