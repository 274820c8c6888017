"""From packed clips to embeddings: the device, and one pass over a data set."""

import ctypes
import sys

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from data.dataset import Clips, InOrder, loader, scale
from models import parallel
from models.classifier import embed
from models.frontend import LogMel

BATCH = 128  # clips embedded at once; the embeddings do not depend on it


def pick_device(gpu: int) -> torch.device:
    """GPU number ``gpu``, under torchrun the process's own, or the CPU, which one line then says."""
    gpu = parallel.local_rank() if parallel.size() > 1 else gpu
    if gpu < torch.cuda.device_count():
        return torch.device("cuda", gpu)
    if not parallel.rank():
        print(f"no GPU {gpu} here: running on the CPU ({torch.get_num_threads()} threads)", file=sys.stderr)
    reuse_memory()
    return torch.device("cpu")


def search_device(device: torch.device, classify_gpu: bool) -> torch.device | None:
    """Where --classify_gpu has neighbours searched: the GPU if there is one, else None, which is FAISS on the CPU."""
    return device if classify_gpu and device.type == "cuda" else None


def reuse_memory() -> None:
    """Let glibc keep freed memory for the next step instead of returning it to the kernel.

    A step's large tensors are otherwise mapped, zeroed and unmapped anew by the kernel every time, which took a third
    of a Res8 step on two cores. Does nothing elsewhere.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX: large blocks too come from the heap
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: which does not shrink
    except (OSError, AttributeError):
        pass


def place(module: nn.Module, device: torch.device, precision: str = "32") -> nn.Module:
    """Move a module to a device, its convolution weights channels-last, which is faster on both kinds.

    Not so for bfloat16 on a CPU: torch 2.13.0 crashes in Res15's backward with both.
    """
    if device.type == "cpu" and precision == "bf16":
        return module.to(device)
    return module.to(device, memory_format=torch.channels_last)


@torch.no_grad()
def embed_clips(encoder: nn.Module, frontend: LogMel, clips: Clips, indices: np.ndarray | None = None,
                title: str | None = None, normalise: bool = True) -> np.ndarray:
    """Embeddings of a data set, in evaluation mode and full precision, whatever mode the modules are in.

    Args:
        indices: the clips to embed; None takes all.
        title: shown by a progress bar; None shows none.
        normalise: whether to scale each embedding to length 1, as kNN needs it.

    Returns:
        (N, D) float32.
    """
    device = next(encoder.parameters()).device
    indices = np.arange(len(clips)) if indices is None else indices
    modes = [(module, module.training) for module in (encoder, frontend)]
    tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False  # one clip, one embedding: to 1e-5, on a GPU too
    try:
        for module, _ in modes:
            module.eval()
        parts = [torch.zeros(0, encoder.width, device=device)]  # so that no clips are no special case
        batches = [indices[rows] for rows in InOrder(len(indices), BATCH)]
        with tqdm(total=len(indices), desc=title, unit=" clips", leave=False,
                  disable=None if title and not parallel.rank() else True) as progress:
            for waveforms, _ in loader(clips, batches, pin_memory=device.type == "cuda"):
                spectrograms = frontend(scale(waveforms.to(device, non_blocking=True)))
                parts.append(embed(encoder, spectrograms) if normalise else encoder(spectrograms))
                progress.update(len(waveforms))
        return torch.cat(parts).cpu().numpy()
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
        for module, training in modes:
            module.train(training)
