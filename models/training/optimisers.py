"""Optimisers and schedules by the names that the flags give them."""

import logging
from argparse import Namespace
from collections.abc import Iterable

import torch

from models.runs.checkpoints import not_finite, structure


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


class NovoGrad(torch.optim.Optimizer):
    """Adam with one second moment a tensor, of which the gradient's norm is made (Ginsburg et al., 2019,
    arXiv:1905.11286). The state is named as in NeMo's optimiser, whose step makes the host wait for every tensor; a
    test holds the two together. ``betas`` are the decays of the running gradient and of the running squared norm."""

    def __init__(self, params: Iterable, lr: float, betas: tuple[float, float] = (0.95, 0.98), eps: float = 1e-8,
                 weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """One update; returns what ``closure`` returns."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state |= {"step": 0, "exp_avg": torch.zeros_like(p), "exp_avg_sq": p.new_zeros([])}
                state["step"] += 1
                square, norm = state["exp_avg_sq"], p.grad.norm().square()
                square.copy_(torch.where(square == 0, norm, square * beta2 + norm * (1 - beta2)))
                update = (p.grad / (square.sqrt() + group["eps"])).add_(p, alpha=group["weight_decay"])
                state["exp_avg"].mul_(beta1).add_(update)
                if isinstance(group["lr"], torch.Tensor):  # of a recorded step
                    p.addcmul_(state["exp_avg"], group["lr"], value=-1)
                else:
                    p.add_(state["exp_avg"], alpha=-group["lr"])
        return loss
