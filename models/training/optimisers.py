"""Optimisers and schedules by the names that the flags give them."""

import logging
from argparse import Namespace

import torch

from models.runs.checkpoints import not_finite, structure
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


def belongs(state: object, args: Namespace, parameters: list) -> bool:
    """Whether a saved optimiser's state is one of these parameters: made like it after a step, and finite."""
    groups = parameters if isinstance(parameters[0], dict) else [{"params": parameters}]
    like = [group | {"params": [torch.nn.Parameter(torch.zeros_like(p, device="cpu")) for p in group["params"]]}
            for group in groups]
    for p in (p for group in like for p in group["params"]):
        p.grad = torch.zeros_like(p)
    optimizer = make_optimizer(args, like)
    optimizer.step()

    def outline(saved: dict) -> list:  # the rates of a schedule lie in the groups, too
        return [structure(saved["state"]), [group["params"] for group in saved["param_groups"]]]

    try:
        return outline(state) == outline(optimizer.state_dict()) and \
            all(not_finite(entries) is None for entries in state["state"].values())
    except (KeyError, TypeError):  # it is made otherwise altogether
        return False
