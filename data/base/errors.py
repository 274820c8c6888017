"""What a user did wrong, said in one line."""

import os
import select
import sys
import time
from collections.abc import Callable

PATIENCE = 30  # seconds that a process leaves to torchrun's first one on its machine to say what is wrong


class UserError(Exception):
    """Bad input. The message names the file, flag or label at fault and the way out, on one line."""


def exit_cleanly(main: Callable[[], int | None]) -> None:
    """Run ``main`` and leave the process with its exit code.

    A `UserError` becomes one line on stderr and exit code 2; Ctrl-C becomes exit code 130, and output that nobody reads
    on, as after ``| head``, 141, as a shell has it. Any other exception is a defect of ours and keeps its traceback.
    """
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_left():
            raise
        code = 141
    except UserError as error:
        message = " ".join(str(error).split("\n"))
        if os.environ.get("LOCAL_RANK", "0") != "0":
            # torchrun's processes mostly have the same to say, and the first to end has it end the others: wait for
            # that, so that one process says it and does not die before it could.
            time.sleep(PATIENCE)
        print(f"error: {message}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code or 0)


def _reader_left() -> bool:
    """Whether standard output is a pipe that nobody reads; then what is still to be written goes nowhere."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    if not any(event & select.POLLERR for _, event in output.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes as it ends
    return True
