"""Optimisers and schedules by the names that the flags give them."""

import logging
from argparse import Namespace

import torch

from models.training.novograd import NovoGrad


def make_optimizer(args: Namespace, parameters: list) -> torch.optim.Optimizer:
    """``parameters``: or groups of them, with what differs from the flags in each."""
    if args.optimizer == "novograd":  # betas measured on the original
        return NovoGrad(parameters, lr=args.lr, betas=(0.98, 0.5), weight_decay=args.weight_decay)
    return torch.optim.AdamW(parameters, lr=args.lr, weight_decay=args.weight_decay)


def make_schedule(args: Namespace, optimizer: torch.optim.Optimizer, steps: int):
    if args.schedule == "cosine":
        logging.getLogger("nv_one_logger").setLevel(logging.ERROR)  # of telemetry, of which there is none
        from nemo.core.optim.lr_scheduler import CosineAnnealing  # eight seconds, so not before it is wanted

        return CosineAnnealing(optimizer, max_steps=steps, warmup_ratio=args.warmup, min_lr=args.lr_end)
    total, warmup = max(steps, 2), args.warmup
    if warmup * total == 1:  # torch divides by a first phase of this length less one: let it be a step and a bit
        warmup = (1 + 1e-6) / total
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[group["lr"] for group in optimizer.param_groups],
                                               total_steps=total, pct_start=warmup,
                                               final_div_factor=args.lr / 25 / args.lr_end)


def misfit(state: dict, args: Namespace, parameters: list) -> str | None:
    """What keeps an optimiser's state, as `state_dict` gives it, from being that of these parameters; None if nothing.

    It is held against the state that an optimiser has after a step on parameters of the same shapes.
    """
    groups = parameters if isinstance(parameters[0], dict) else [{"params": parameters}]
    like = [group | {"params": [torch.nn.Parameter(torch.zeros_like(p, device="cpu")) for p in group["params"]]}
            for group in groups]
    for p in (p for group in like for p in group["params"]):
        p.grad = torch.zeros_like(p)
    optimizer = make_optimizer(args, like)
    optimizer.step()
    wanted, number = optimizer.state_dict()["state"], sum(len(group["params"]) for group in like)
    saved, found = state.get("param_groups"), state.get("state")
    listed = [group.get("params") for group in saved] if isinstance(saved, list) and all(
        isinstance(group, dict) for group in saved) else None
    if listed != [group["params"] for group in optimizer.state_dict()["param_groups"]] or \
            not isinstance(found, dict) or list(found) != list(range(number)):
        return f"its optimizer is not one of {number} tensors of weights"
    for i, entries in wanted.items():
        if not isinstance(found[i], dict) or set(found[i]) != set(entries):
            return f"its optimizer lacks, or has too much of, what it should know of weights {i}"
        for name, value in entries.items():
            if not _alike(found[i][name], value):
                return f"{name!r} of weights {i} in its optimizer has another type or shape, or is not a number"
    return None


def _alike(found, wanted) -> bool:
    if not isinstance(wanted, torch.Tensor):
        return type(found) is type(wanted)
    return isinstance(found, torch.Tensor) and (found.shape, found.dtype) == (wanted.shape, wanted.dtype) \
        and bool(found.isfinite().all())
