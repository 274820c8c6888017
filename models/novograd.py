"""NovoGrad (Ginsburg et al., 2019, arXiv:1905.11286) without waiting for the GPU."""

import torch
from nemo.core.optim import novograd


class NovoGrad(novograd.Novograd):
    """NeMo's optimiser, whose own step reads a value back from the device for every tensor of weights.

    Takes NeMo's arguments and keeps its state; neither ``amsgrad``, ``grad_averaging`` nor ``luc``.
    """

    @torch.no_grad()
    def step(self, closure=None):
        """One update; returns what ``closure`` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
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
                p.add_(state["exp_avg"], alpha=-group["lr"])
        return loss
