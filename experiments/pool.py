"""Run cells several at a time: chains that share an encoder, each in a process that goes from one to the next."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from data.base.errors import UserError
from experiments.cells import Cell
from experiments.chain import Stopped, run_chain
from experiments.estimate import Estimate, clock
from experiments.results_file import Results
from experiments.setup import Setup

_stopped = False  # in a process of the pool: it got a signal


def work(chain: list[Cell], known: set[str], setup: Setup) -> list[dict]:
    """`run_chain` in a process of the pool, which has more chains in its queue and must not begin them once stopped."""
    global _stopped
    try:
        if _stopped:
            raise Stopped
        return run_chain(chain, known, setup)
    except (Stopped, KeyboardInterrupt):
        _stopped = True
        raise Stopped from None


def run_all(todo: list[list[Cell]], results: Results, setup: Setup, jobs: int, estimate: Estimate) -> list[str]:
    """Run chains of cells, ``jobs`` at a time, each in a process that goes from one to the next.

    Returns:
        what went wrong, a line a chain; the others are run all the same.

    Raises:
        KeyboardInterrupt: a signal came. All finished cells are in ``results``, the others can go on.
    """
    problems: list[str] = []
    left = sum(estimate.chain(chain, results.known) for chain in todo)
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _watch_parent, (os.getpid(),))
    terminate = signal.signal(signal.SIGTERM, _interrupt)
    try:
        waiting: dict[Future, list[Cell]] = {
            pool.submit(work, chain, set(results.known), setup): chain for chain in todo}
        number, total = 0, len(waiting)
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                chain = waiting.pop(future)
                number += 1
                left -= estimate.chain(chain, results.known)
                try:
                    found = future.result()
                except Stopped:
                    raise KeyboardInterrupt from None
                except UserError as error:
                    problems.append(str(error))
                    print(f"[{number}/{total}] {problems[-1]}", flush=True)
                    continue
                except BrokenProcessPool:
                    raise UserError("a process that ran a cell died, perhaps for want of memory; the same command goes "
                                    "on from where it was, with fewer --jobs") from None
                results.add(found)
                for result in found:
                    print(f"[{number}/{total}] {result['name']}: {_headline(result)} "
                          f"({result['seconds'] / 60:.1f} min), {clock(max(left, 0) / jobs)} to go", flush=True)
    except KeyboardInterrupt:
        for child in multiprocessing.active_children():  # each saves a checkpoint and ends
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, terminate)
        pool.shutdown(cancel_futures=True)
    return problems


def _headline(result: dict) -> str:
    """Its accuracy; of enrolled words that with most clips, and how well others are told from them."""
    if result["cell"]["method"] != "shots":
        return f"{100 * result['accuracy']:.2f} %"
    most = max((one for one in result["shots"] if one["scores"] == "embedding"), key=lambda one: one["shots"])
    auroc = f", AUROC {100 * most['auroc']:.2f} %" if "auroc" in most else ""
    return f"{most['shots']} clips enrolled, accuracy {100 * most['accuracy']:.2f} %{auroc}"


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def _watch_parent(parent: int) -> None:
    """In a process of the pool: end with the one that started it, however that ended."""
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)
    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGTERM, _interrupt)  # between trainings, which have a handler of their own
