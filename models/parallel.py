"""Data-parallel training: ``torchrun --nproc_per_node=N`` starts N processes on one machine, each on a GPU of its own.

Every process draws the same global batch, embeds its part of it, and gathers the others' embeddings, so that mining
sees the whole batch. Without torchrun there is one process, and nothing here does anything.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np

from data.base.errors import UserError

PATIENCE = timedelta(hours=12)  # processes wait for the one that decodes a data set
_joined = False


def launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def size() -> int:
    """Processes that work together."""
    return int(os.environ["WORLD_SIZE"]) if _joined else 1


def rank() -> int:
    """This process's number among them; 0 writes and prints for all."""
    return int(os.environ["RANK"]) if _joined else 0


def leads() -> bool:
    """Whether this process is the first, also before it has met the others."""
    return not launched() or os.environ["RANK"] == "0"


def refuse(script: str) -> None:
    """Raise UserError if torchrun started a script that runs in one process."""
    if launched():
        raise UserError(f"{script} runs in one process; start it with python instead of torchrun")


def join() -> None:
    """Meet the other processes; from then on only the first one's standard output is shown. Raises UserError where
    torchrun was started on several machines, or there are fewer GPUs than processes."""
    global _joined
    if not launched():
        return
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    if here != int(os.environ["WORLD_SIZE"]):
        raise UserError("torchrun --nnodes: training runs on one machine; use torchrun --nproc_per_node=GPUS")
    import torch
    from torch import distributed

    if 0 < torch.cuda.device_count() < here:
        raise UserError(f"torchrun --nproc_per_node={here}: there are {torch.cuda.device_count()} GPUs; start at most "
                        "one process each")
    backend = "cpu:gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["RANK"]))
        backend += ",cuda:nccl"
    distributed.init_process_group(backend, timeout=PATIENCE)
    _joined = True
    if rank():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives


def leave() -> bool:
    """Leave the other processes. Returns whether this was the first, which goes on alone."""
    global _joined
    alone = rank() == 0
    if _joined:
        from torch import distributed

        distributed.destroy_process_group()
        _joined = False
    return alone


@contextmanager
def first() -> Iterator[None]:
    """A block that one process runs before the others: it makes files that those then find."""
    if rank():
        total(0)
    yield
    if _joined and not rank():
        total(0)


def agree(modules: Iterable) -> None:
    """Give the modules of all processes the first one's buffers, which are those that it saves: on a CPU, batch norm's
    statistics are each process's own. DistributedDataParallel does the same before the next step."""
    if size() > 1:
        from torch import distributed

        for module in modules:
            for buffer in module.buffers():
                distributed.broadcast(buffer, 0)


def share(rows: np.ndarray) -> np.ndarray:
    """This process's part of ``rows``: consecutive ones, parts of equal length or one longer."""
    return np.array_split(rows, size())[rank()]


class Shared:
    """This process's parts of the batches of a sampler, which is the same in all of them."""

    def __init__(self, batches: Iterable[np.ndarray]):
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(share, self.batches)


def gather(own, total: int):
    """All processes' rows of a batch, in its order, with gradient: this process's `share` (b, D) to (``total``, D).
    Each backward reaches only the process's own rows, times the number of processes: DistributedDataParallel averages
    the gradients, of the same loss in all processes."""
    if size() == 1:
        return own
    import torch
    from torch import distributed

    shares = np.array_split(np.arange(total), size())
    padded = own.new_zeros((len(shares[0]), *own.shape[1:]))  # collectives want equal shapes
    padded[:len(own)] = own.detach()
    parts = [torch.empty_like(padded) for _ in shares]
    distributed.all_gather(parts, padded)
    rows = [part[:len(share)] for part, share in zip(parts, shares, strict=True)]
    if own.requires_grad:
        rows[rank()] = own.view_as(own)  # the hook is this use's alone
        rows[rank()].register_hook(lambda gradient: gradient * size())
    return torch.cat(rows)


def total(value: float) -> float:
    """The sum of a number over all processes, which wait for one another: on the CPU, not to busy a GPU."""
    if size() == 1:
        return value
    import torch
    from torch import distributed

    summed = torch.tensor(value, dtype=torch.float64)
    distributed.all_reduce(summed)
    return summed.item()
