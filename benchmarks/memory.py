"""Peak memory of one piece of work: in a process of its own, so that nothing run before counts. Linux only."""

import re
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path


@dataclass
class Used:
    """What a piece of work took.

    Attributes:
        extra: most MB held during the work beyond what its process held before, inputs included.
        before: those MB.
    """

    result: object
    seconds: float
    extra: float
    before: float


def in_own_process(prepare: Callable, *arguments) -> Used:
    """Call ``prepare(*arguments)``, a module's own function, and then measure the function that it returns."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_measure, prepare, arguments).result()


def _measure(prepare: Callable, arguments: tuple) -> Used:
    work = prepare(*arguments)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before, began = _status("VmRSS"), time.perf_counter()
    result = work()
    return Used(result, time.perf_counter() - began, _status("VmHWM") - before, before)


def _status(name: str) -> float:
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024 / 1e6
