"""NovoGrad (Ginsburg et al., 2019, arXiv:1905.11286) without waiting for the GPU."""

from collections.abc import Iterable

import torch


class NovoGrad(torch.optim.Optimizer):
    """Adam with one second moment a tensor, of which the gradient's norm is made. The state is named as in NeMo's
    optimiser, whose step reads a value back from the device for every tensor; a test holds the two together. ``betas``
    are the decays of the running gradient and of the running squared norm."""

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
