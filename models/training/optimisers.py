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
