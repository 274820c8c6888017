"""Batches of unit embeddings for the tests of the losses, and the arithmetic that they are held to."""

import torch
from torch.nn import functional


def batch(classes: int = 4, per_class: int = 3, size: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit embeddings (B, D) in double, a class's side by side, and the classes' numbers, in no order."""
    generator = torch.Generator().manual_seed(seed)
    around = torch.randn(classes, 1, size, dtype=torch.float64, generator=generator)
    free = around + 0.7 * torch.randn(classes, per_class, size, dtype=torch.float64, generator=generator)
    order = torch.randperm(2 * classes, generator=generator)[:classes]
    return functional.normalize(free.view(-1, size), dim=1), order.repeat_interleave(per_class)


def check_gradients(loss: torch.nn.Module, embeddings: torch.Tensor, labels: torch.Tensor) -> None:
    """Against differences, of the embeddings and of all that the loss learns."""
    names, values = zip(*loss.named_parameters(), strict=True) if list(loss.parameters()) else ((), ())

    def of(embeddings, *own):
        return torch.func.functional_call(loss, dict(zip(names, own, strict=True)), (embeddings, labels))[0]

    inputs = [x.detach().clone().requires_grad_() for x in (embeddings, *values)]
    assert torch.autograd.gradcheck(of, inputs)
    of(*inputs).backward()
    assert all(x.grad.abs().sum() > 0 for x in inputs)
