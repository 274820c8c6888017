"""What a user did wrong, or the system refuses, said in one line; and phrases that many messages need."""

import contextlib
import difflib
import errno
import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable

PATIENCE = 30  # seconds that a process leaves to torchrun's first one on its machine to say what is wrong
_WAYS_OUT = {
    errno.ENOSPC: "make room on that disk", errno.EDQUOT: "make room in your quota",
    errno.EFBIG: "the system allows no larger file",
    errno.EACCES: "mend its permissions, or name another", errno.EPERM: "mend its permissions, or name another",
    errno.EROFS: "that disk is read-only: name a place you can write to",
    errno.ENAMETOOLONG: "choose a shorter name", errno.ELOOP: "links lead round in a circle: mend them",
    errno.EMFILE: "allow more open files by ulimit -n", errno.ENOENT: "check the name",
}


class UserError(Exception):
    """Bad input. The message names the file, flag or label at fault and the way out, on one line."""


class Stopped(BaseException):
    """A signal, by its number, asked the program to end, as Ctrl-C does by `KeyboardInterrupt`."""


def exit_cleanly(main: Callable[[], int | None]) -> None:
    """Run ``main`` and leave the process with its exit code.

    A `UserError`, and what the system refuses, becomes one line on stderr and exit code 2. Ctrl-C, SIGTERM, SIGHUP, and
    output that nobody reads on become 130, 143, 129 and 141, as in a shell. Any other exception is a defect of ours and
    keeps its traceback. What a console cannot show it gets as an escape sequence.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number and signal.getsignal(number) == signal.SIG_DFL:  # nohup has SIGHUP ignored
            signal.signal(number, _stop)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # a test's stand-in
            stream.reconfigure(errors="backslashreplace")
    code = _code(main)
    try:
        sys.stdout.flush()
    except OSError:  # a full disk, which Python would meet again as it ends
        _drop_output()
    sys.exit(code or 0)


def _code(main: Callable[[], int | None]) -> int | None:
    try:
        code = main()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        if not _reader_left():  # another pipe's, as to a process at work
            raise
        _drop_output()
        return 141
    except KeyboardInterrupt:
        _print("interrupted")
        return 130
    except Stopped as stop:
        _print(f"stopped by {signal.Signals(stop.args[0]).name}")
        return 128 + stop.args[0]
    except Exception as error:
        message = in_a_line(error)
        if message is None:
            raise
        if os.environ.get("LOCAL_RANK", "0") != "0":
            time.sleep(PATIENCE)  # torchrun ends the others with the first: it has the same to report, once
        _print(f"error: {message}")
        return 2


def in_a_line(error: BaseException) -> str | None:
    """What to tell the user of an error in one line; None for what can only be a defect of ours."""
    if isinstance(error, UserError):
        return " ".join(str(error).split("\n"))
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, BrokenPipeError):
        what = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "writing"
        return f"{what}: {error.strerror or os.strerror(error.errno)}; {_WAYS_OUT.get(error.errno, 'try again')}"
    if out_of_memory(error):
        return "not enough memory for this; take smaller batches, fewer or shorter clips, or a larger machine"
    if isinstance(error, UnicodeEncodeError) and re.search("[\ud800-\udfff]", str(error.object)):
        return f"{error.object!a}: the name is not valid UTF-8; rename it"
    return None


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory, of the host or of a GPU."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and re.search("not enough memory|can't allocate memory|out of memory",
                                                      str(error)) is not None)


def _print(line: str) -> None:
    """One line on stderr; nothing if that is full or closed."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)


def _stop(number: int, _) -> None:
    signal.signal(number, signal.SIG_DFL)  # asked twice, it ends at once
    raise Stopped(number)


def _reader_left() -> bool:
    """Whether standard output is a pipe that nobody reads."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in output.poll(0))


def _drop_output() -> None:
    """What is still to be written to standard output, and what Python flushes as it ends, goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def first_few(names: Iterable[str], most: int = 5, between: str = ", ") -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The name that is spelled most like a wrong one, as the end of a message; empty if there is none."""
    spelt = {known.casefold(): known for known in names}
    close = difflib.get_close_matches(name.casefold(), spelt, n=1)
    return f" (did you mean {spelt[close[0]]!r}?)" if close else ""
