"""Files that are either whole or not there."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from data.base.errors import UserError

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / "datasets" / "cache"  # of decoded audio, nearest words

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def write_atomically(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside ``path`` and rename it to ``path`` once the block ends without an exception.

    Missing parent folders are made. Text is UTF-8 with ``\\n`` line ends, so equal content is equal bytes.

    Raises:
        UserError: the folder cannot be written, ``path`` is itself a folder, or the disk is full.
    """
    path = Path(path)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    if path.is_dir():
        raise UserError(f"{path}: is a folder, so no file of that name can be written; choose another name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose a folder you can write to") from error
    try:
        with os.fdopen(descriptor, mode, **text) as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes private files
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise UserError(f"{path}: cannot be written ({error.strerror}); make room on that disk") from error
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
