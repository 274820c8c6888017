"""Data-parallel training: ``torchrun --nproc_per_node=N`` starts N processes on one machine, each on a GPU of its own.

Every process draws the same global batch, embeds its part of it, and gathers the others' embeddings, so that mining
sees the whole batch. Without torchrun there is one process, and nothing here does anything.
"""

import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np

from data.base.errors import UserError

PATIENCE = timedelta(hours=12)  # processes wait for the one that decodes a data set
_joined = False
_left = False  # whether this process has left the others again


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
    if launched() and not _left:
        raise UserError(f"{script} runs in one process; start it with python instead of torchrun")


def join(args: Namespace) -> None:
    """Meet the other processes; from then on only the first one's standard output is shown.

    Raises:
        UserError: torchrun was started on several machines or --gpu was given, or there are fewer GPUs than processes.
    """
    global _joined
    if not launched():
        return
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    if here != int(os.environ["WORLD_SIZE"]):
        raise UserError("torchrun --nnodes: training runs on one machine; use torchrun --nproc_per_node=GPUS")
    if "gpu" in args.given:
        raise UserError("--gpu: torchrun gives each process a GPU of its own; leave it out, or choose them by "
                        "CUDA_VISIBLE_DEVICES")
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
    global _joined, _left
    alone = rank() == 0
    if _joined:
        from torch import distributed

        distributed.destroy_process_group()
        _joined, _left = False, True
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
    """Give the modules of all processes the first one's buffers, which are those that it saves.

    Batch norm's statistics are each process's own where torch cannot synchronise them, on a CPU.
    DistributedDataParallel does the same before the next step, so training is not changed.
    """
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

    The gradient is right if every process computes the same loss from the result and gradients are averaged over
    processes, as DistributedDataParallel does: each backward reaches only the process's own rows, times their number.
    """
    if size() == 1:
        return own
    import torch

    everything = _all_rows(own.detach(), total)
    start = int(share(np.arange(total))[0])
    own = own.view_as(own)  # the hook is this use's alone
    if own.requires_grad:
        own.register_hook(lambda gradient: gradient * size())
    return torch.cat([everything[:start], own, everything[start + len(own):]])


def gather_arrays(own: np.ndarray, total: int) -> np.ndarray:
    """Like `gather`, for arrays."""
    if size() == 1:
        return own
    import torch

    return _all_rows(torch.from_numpy(own), total).numpy()


def _all_rows(own, total: int):
    import torch
    from torch import distributed

    counts = [len(part) for part in np.array_split(np.arange(total), size())]
    padded = own.new_zeros((counts[0], *own.shape[1:]))  # collectives want equal shapes
    padded[:len(own)] = own
    parts = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def total(value: float) -> float:
    """The sum of a number over all processes, which wait for one another: on the CPU, not to busy a GPU."""
    if size() == 1:
        return value
    import torch
    from torch import distributed

    summed = torch.tensor(value, dtype=torch.float64)
    distributed.all_reduce(summed)
    return summed.item()
