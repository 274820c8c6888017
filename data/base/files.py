"""The one place that opens files to read and to write: regular files only, and written ones are whole or not there."""

import errno
import hashlib
import json
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from data.base.errors import UserError
from data.base.labels import one_form

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / "datasets" / "cache"  # of decoded audio, nearest words

_UNFINISHED = ".unfinished"  # ending of the temporary files
_LEFT_BEHIND = 2.0  # seconds after its last change that such a file, which no process holds, is taken for a leftover
_LONGEST = 200  # bytes of a name; 255 is what file systems take, and names get endings
_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"),
          (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))


@contextmanager
def write_atomically(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside ``path`` and rename it to ``path`` once the block ends without an exception.

    Missing parent folders are made. Text is UTF-8 with ``\\n`` line ends, so equal content is equal bytes. A link is
    followed, a file that is replaced keeps its permissions, and what a killed run left in that folder is removed.
    Raises UserError where the folder cannot be written, ``path`` is a folder, device or pipe, or the disk is full.
    """
    path = Path(path)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        if target.is_symlink():
            raise UserError(f"{path}: links lead from it round in a circle; remove it, or choose another name")
        if target.exists() and not target.is_file():
            raise UserError(f"{path}: is {kind_of(target)}; choose another name")
        mode_bits = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask()
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target.parent)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name[:60]}.", suffix=_UNFINISHED, dir=target.parent)
    except OSError as error:
        way_out = "choose a shorter name" if error.errno == errno.ENAMETOOLONG else "choose a folder you can write to"
        raise UserError(f"{path}: cannot be written ({error.strerror}); {way_out}") from error
    watched = None
    try:
        with os.fdopen(descriptor, mode, **text) as file:
            lock(descriptor)
            watched = _Watched(file)
            yield watched
        os.chmod(temporary, mode_bits)  # mkstemp makes private files
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        cause = watched.error if watched is not None and watched.error is not None else error
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise UserError(f"{path}: cannot be written ({cause.strerror}); make room on that disk") from error
        raise


class _Tried(Exception):
    pass


def check_output(path: str | Path) -> None:
    """Raise UserError where `write_atomically` could not write a file of this name later on."""
    with suppress(_Tried), write_atomically(path):
        raise _Tried


class _Watched:
    """A file that keeps the error of a failed write. Libraries raise another, or write to the descriptor directly."""

    def __init__(self, file: IO):
        self._file, self.error = file, None

    def write(self, data) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def __getattr__(self, name: str):
        return getattr(self._file, name)


def open_regular(path: str | Path, mode: str = "rb", **how) -> IO:
    """Open an existing regular file to read, as `open` does. Raises OSError, also as `check_regular` does."""
    check_regular(path)
    return open(path, mode, **how)


def file_digest(path: str | Path, kind: str = "sha256") -> str:
    """The SHA-256, or another hash, of a regular file, in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, kind).hexdigest()


def check_regular(path: str | Path) -> os.stat_result:
    """The state of a file. Raises OSError for a folder, device, socket or pipe: opening a pipe would wait for ever."""
    state = os.stat(path)
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, f"it is {kind_of(path)}, not a file", os.fspath(path))
    return state


def read_text(path: str | Path, what: str = "file", way_out: str = "check the name") -> str:
    """The text of a UTF-8 file, with or without a byte-order mark. Raises UserError where it cannot be read, saying
    ``what`` it is to the user, as "list of words"."""
    try:
        with open_regular(path) as file:
            data = file.read()
    except OSError as error:
        raise UserError(f"{path}: cannot read this {what} ({error.strerror}); {way_out}") from error
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8; save this {what} as UTF-8") from None


def read_lines(path: str | Path) -> list[str]:
    """The distinct words of a text file, one a line, in one Unicode form and in order. Raises UserError."""
    lines = read_text(path, "list of words", "give a text file with one word a line").split("\n")
    return list(dict.fromkeys(word for line in lines if (word := one_form(line))))


def read_json(path: str | Path, what: str = "file", way_out: str = "check the name", shape: Any = object) -> Any:
    """The value of a JSON file. Raises UserError where it is not valid or has another ``shape``, see `misshapen`."""
    text = read_text(path, what, way_out)
    try:
        value = json.loads(text, object_pairs_hook=without_twins)
    except UserError as error:
        raise UserError(f"{path}: {error}, or {way_out}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); {way_out}") from None
    if problem := misshapen(value, shape):
        raise UserError(f"{path}: {problem}; {way_out}")
    return value


def read_npz(file: IO[bytes]) -> dict[str, Any]:
    """All arrays of an open .npz file. Raises OSError where reading failed, ValueError for no .npz or a damaged one."""
    import numpy as np

    try:
        with np.load(file) as arrays:
            return dict(arrays)
    except OSError:
        raise
    except Exception as error:  # damage makes zipfile and NumPy raise nearly anything
        raise ValueError(f"no .npz file, or a damaged one: {error}") from error


def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object of its keys and values. Raises UserError if a key is there twice: JSON takes the last, silently."""
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UserError(f"{_shown(twice)} is there twice in one JSON object; remove one")
    return made


def misshapen(value: Any, shape: Any, name: str = "it") -> str | None:
    """What is wrong with a value read from JSON; None if it has the shape.

    A shape is a type, or a tuple of types (bool is no int); ``[shape]`` for a list of such; ``{str: shape}`` for any
    keys; ``{"key": shape, ...}`` for keys that may be missing, others being allowed.
    """
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{name} must be a list, not {_shown(value)}"
        return next(filter(None, (misshapen(v, shape[0], f"{name}[{i}]") for i, v in enumerate(value))), None)
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{name} must be a JSON object, not {_shown(value)}"
        every = shape.get(str)
        return next(filter(None, (misshapen(v, every or shape[key], repr(key)) for key, v in value.items()
                                  if every or key in shape)), None)
    types = shape if isinstance(shape, tuple) else (shape,)
    fits = isinstance(value, types) and (not isinstance(value, bool) or bool in types or object in types)
    if fits and float in types and isinstance(value, int) and abs(value) > _MOST:
        return f"{name} must be a number that a computer can hold, not {len(str(value))} digits"
    return None if fits else (f"{name} must be {' or '.join(_NAMES.get(t, t.__name__) for t in types)}, not "
                              f"{_shown(value)}")


_MOST = int(sys.float_info.max)  # JSON's whole numbers have no end
_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", dict: "a JSON object",
          list: "a list", type(None): "null"}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def check_name(flag: str, name: str) -> str:
    """``name``, if it can be that of a folder or of files anywhere. Raises UserError, naming the flag."""
    if name.strip() != name or name in ("", ".", "..") or re.search(r"[/\\\x00-\x1f\x7f\ud800-\udfff]", name):
        raise UserError(f"{flag} {name!r}: must be a plain folder name, valid UTF-8 without / and \\")
    if (length := len(name.encode())) > _LONGEST:
        raise UserError(f"{flag} {name[:20]}...: is {length} bytes long; choose a name of at most {_LONGEST}")
    return name


def kind_of(path: str | Path) -> str:
    """What lies at a path, for a message."""
    mode = os.stat(path).st_mode
    return next((name for test, name in _KINDS if test(mode)), "a file")


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Keep other processes out of what they, too, do under this lock of a folder; where there are no locks, nothing."""
    if os.name == "nt":  # opens no folder
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


def lock(file: IO | int, *, shared: bool = False, wait: bool = False) -> bool | None:
    """Lock an open file or folder, for as long as it is open or mapped. Returns False where another process's lock
    forbids it; None where there are no locks (Windows, some network drives)."""
    try:
        import fcntl

        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files that a killed process left: old ones that no process holds."""
    for path in folder.glob(f".*{_UNFINISHED}"):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            try:
                if time.time() - os.fstat(descriptor).st_mtime > _LEFT_BEHIND and lock(descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
