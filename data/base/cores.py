"""Chunks of work on all cores, results in order, memory bounded."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from tqdm import tqdm

from data.base.errors import UserError

FEW = 4  # tasks; starting processes for no more than these would take longer than doing them


def ordered_map(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
    """Yield ``function(task)`` for every task, in order, computed by one process a core; few tasks in this process.

    At most two tasks a core are under way or done and not yet taken. ``function`` must be a module's own, no lambda.
    Raises UserError where a process was ended from outside, as the system does when there is no memory left.
    """
    workers = cores()
    if workers == 1 or len(tasks) <= FEW:
        yield from map(function, tasks)
        return
    # Not fork: torch's threads may be running, and a forked child would inherit their locks.
    # Interrupts are left to the parent.
    with ProcessPoolExecutor(workers, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        waiting = deque(pool.submit(function, task) for task in tasks[:2 * workers])
        try:
            for task in tasks[2 * workers:]:
                yield waiting.popleft().result()
                waiting.append(pool.submit(function, task))
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError(f"one of {workers} processes at work was ended from outside, probably because memory ran "
                            "out; close other programs, or take fewer cores: taskset -c 0 before the command") from None
        finally:  # after Ctrl-C, do not wait for what nobody will take
            pool.shutdown(wait=False, cancel_futures=True)


def each(function: Callable[[Any], list], items: Sequence[Any], chunk: int, what: str, unit: str) -> Iterator[Any]:
    """What ``function`` returns for a list of items, one after another, computed in chunks, with a progress bar."""
    tasks = [items[i:i + chunk] for i in range(0, len(items), chunk)]
    with tqdm(total=len(items), desc=what, unit=unit, disable=None, leave=False) as progress:
        for results in ordered_map(function, tasks):
            yield from results
            progress.update(len(results))


def cores() -> int:
    """How many cores this process may use; where the system does not tell, as many as there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
