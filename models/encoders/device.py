"""Where the work is done: which device, and how modules and memory are laid out on it."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from models import parallel


def pick_device(gpu: int) -> torch.device:
    """GPU number ``gpu``, under torchrun the process's own, or the CPU, which one line then says."""
    gpu = parallel.rank() if parallel.size() > 1 else gpu
    if gpu < torch.cuda.device_count():
        return torch.device("cuda", gpu)
    if not parallel.rank():
        print(f"no GPU {gpu} here: running on the CPU ({torch.get_num_threads()} threads)", file=sys.stderr)
    reuse_memory()
    return torch.device("cpu")


def search_device(device: torch.device, wanted: int | bool) -> torch.device | None:
    """The GPU that neighbours are searched on by --classify_gpu: the number of a GPU, or True for ``device``, which
    trains; None for FAISS on the CPU, which a line says if no GPU is there."""
    if wanted is False or (wanted is True and device.type == "cuda"):
        return device if wanted else None
    if wanted is not True and wanted < torch.cuda.device_count():
        return torch.device("cuda", wanted)
    if not parallel.rank():
        print("--classify_gpu: no such GPU here; neighbours are searched by FAISS on the CPU", file=sys.stderr)
    return None


def reuse_memory() -> None:
    """Let glibc keep freed memory for the next step: returning it to the kernel took a third of a Res8 step."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX: large blocks too come from the heap
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: which does not shrink
    except (OSError, AttributeError):
        pass


@contextmanager
def full_float32() -> Iterator[None]:
    """A block, or as a decorator a function, in which float32 is computed in full: on a GPU torch otherwise takes TF32
    for convolutions, which moves values of an embedding by more than 1e-4."""
    cudnn, cpu = torch.backends.cudnn, torch.backends.mkldnn
    operations = cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul, cpu.conv, cpu.matmul
    before = [operation.fp32_precision for operation in operations]
    try:
        matmul = torch.get_float32_matmul_precision()
    except RuntimeError:  # torch's old names for this cannot say what was set by its new ones
        matmul = "highest"
    cudnn.allow_tf32 = False  # by the old names, too, which libraries ask; they come first, for they change the new
    torch.set_float32_matmul_precision("highest")
    for operation in operations:
        operation.fp32_precision = "ieee"
    try:
        yield
    finally:
        cudnn.allow_tf32 = before[0] == "tf32"
        torch.set_float32_matmul_precision(matmul)
        for operation, precision in zip(operations, before, strict=True):
            operation.fp32_precision = precision


def place(module: nn.Module, device: torch.device, precision: str = "32") -> nn.Module:
    """Move a module to a device, its convolution weights channels-last, which is faster on both kinds. Not so dilated
    ones in bfloat16 on a CPU: torch 2.13.0 crashes in Res15's backward."""
    dilated = any(isinstance(layer, nn.Conv2d) and max(layer.dilation) > 1 for layer in module.modules())
    if device.type == "cpu" and precision == "bf16" and dilated:
        return module.to(device)
    return module.to(device, memory_format=torch.channels_last)
