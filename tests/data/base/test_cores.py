"""How many cores there are, whatever the system tells; and results in the order of their tasks."""

import os
import signal
from operator import neg

import pytest

from data.base import cores
from data.base.errors import UserError


def test_no_more_cores_than_the_process_may_use_where_the_system_tells(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert cores.cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores.cores() == 64


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(monkeypatch, workers):
    monkeypatch.setattr(cores, "cores", lambda: workers)
    tasks = list(range(cores.FEW + 3))
    assert list(cores.ordered_map(neg, tasks)) == [-task for task in tasks]


def end_itself(_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_ended_for_want_of_memory_is_told_in_a_line(monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: 2)
    with pytest.raises(UserError, match="memory"):
        list(cores.ordered_map(end_itself, range(cores.FEW + 3)))
