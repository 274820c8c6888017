"""What an encoder's arithmetic is, and what this machine could do of it: the limit that times are held against."""

import statistics
import time
from collections.abc import Callable

# Side of the square matrices whose product stands for the machine's limit; a GPU takes too little time for the CPU's.
GEMM, GEMM_GPU = 2048, 8192
FRAMES = 112  # of a one-second clip


def roofline(device="cpu", dtype=None) -> Callable[[], float]:
    """A function that measures the machine's rate now: multiply-adds a second of plain matrix products."""
    import torch

    side = GEMM_GPU if torch.device(device).type == "cuda" else GEMM
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    out = a @ b

    def rate() -> float:
        seconds = []
        for _ in range(5):
            synchronise(device)
            began = time.perf_counter()
            torch.mm(a, b, out=out)
            synchronise(device)
            seconds.append(time.perf_counter() - began)
        return side ** 3 / statistics.median(seconds)

    return rate


def synchronise(device) -> None:
    """Wait until a GPU has done what it was given; nothing on a CPU."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def multiply_adds(encoder, bands: int = 64, frames: int = FRAMES) -> int:
    """Of one clip's forward: outputs of every convolution and linear layer times the weights each takes."""
    return sum(values * weights for values, weights in outputs(encoder, bands, frames))


def outputs(encoder, bands: int = 64, frames: int = FRAMES) -> list[tuple[int, int]]:
    """Of every convolution and linear layer, for one clip: how many values it gives, and weights each takes."""
    import torch

    counts = []
    hooks = [module.register_forward_hook(lambda module, _, out: counts.append(
        (out[0].numel(), module.weight[0].numel()))) for module in encoder.modules()
        if isinstance(module, (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Linear))]
    training = encoder.training
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):  # in which the layers by parts are not taken
        encoder.eval()(torch.zeros(1, bands, frames))
    encoder.train(training)
    for hook in hooks:
        hook.remove()
    return counts
