"""Optimisers and schedules by the names that the flags give them, and what makes a step faster on a GPU.

Kernels that take less time than the host needs to start them leave a GPU waiting. Compiling makes fewer of them;
recording a step as a CUDA graph lets one call start them all. Where either fails, one line says so, and the step is
computed as it is.
"""

import logging
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable

import torch
from torch import nn

from models.runs.checkpoints import not_finite, structure

WARM = 3  # steps before the one that is recorded: cuDNN tries its ways, and the optimiser makes its state


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


class Compiled:
    """An encoder by torch.compile, for inputs of one shape; as it is if its first call shows that this fails, as
    without Triton."""

    def __init__(self, encoder: nn.Module):
        self.encoder, self.call, self.tried = encoder, torch.compile(encoder, dynamic=False), False

    def __call__(self, spectrograms: torch.Tensor) -> torch.Tensor:
        """As the encoder."""
        if not self.tried:
            self.tried = True
            try:
                return self.call(spectrograms)
            except Exception as error:  # of many kinds; an encoder that is at fault itself fails again below
                print(f"--compile: {_reason(error)}; the encoder runs uncompiled", file=sys.stderr)
                self.call = self.encoder
        return self.call(spectrograms)


class RecordedStep:
    """Forward, backward and the optimiser's update, recorded once as a CUDA graph and then replayed.

    The first `WARM` steps are computed as they are, and so is a batch of other shapes than the recorded one, or every
    batch on a CPU or if recording fails. The result is the same to the rounding of the learning rate, which is float32.

    Args:
        learn: inputs on the device to the loss and its figures, scalar tensors. The host must not wait in it for the
            device, nor draw anything random. What the device's generator draws follows the seed in a replay, too.
        optimizer: of the weights; its learning rates are read before each step.
    """

    def __init__(self, learn: Callable[..., tuple[torch.Tensor, dict]], optimizer: torch.optim.Optimizer,
                 device: torch.device):
        self.learn, self.optimizer, self.device, self.left = learn, optimizer, device, float(WARM)
        self.replay: Callable[[], None] | None = None
        self.rates, self.stream = None, None
        if device.type == "cuda":
            # Not the stream that all else runs on, from which torch cannot record.
            self.stream = torch.cuda.Stream(device)
            self.rates = [torch.tensor(float(group["lr"]), device=device) for group in optimizer.param_groups]
            for group in optimizer.param_groups:
                group |= {"capturable": True} if "capturable" in group else {}
            for state in optimizer.state.values():  # of a run that goes on
                state["step"] = state["step"].to(device) if isinstance(state["step"], torch.Tensor) else state["step"]

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, dict]:
        """A step: its loss, without gradient, and its figures, which the next step overwrites."""
        for rate, group in zip(self.rates or (), self.optimizer.param_groups, strict=False):
            rate.fill_(group["lr"])
        if self.replay is None and self.left == 0:
            self._record(inputs)
        if self.replay is None or [x.shape for x in inputs] != [x.shape for x in self.inputs]:
            self.left = max(0, self.left - 1)
            return self._aside(inputs)
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.replay()
        for state in self.optimizer.state.values():
            if isinstance(state["step"], int):  # which the host counts
                state["step"] += 1
        return self.given

    def _record(self, inputs: tuple[torch.Tensor, ...]) -> None:
        self.inputs = [x.clone() for x in inputs]
        counted = {p: state["step"] for p, state in self.optimizer.state.items() if isinstance(state["step"], int)}
        try:
            self.replay, self.given = record(lambda: self._step(self.inputs), self.stream)
        except Exception as error:  # nothing has been computed yet
            print(f"--graph: {_reason(error)}; steps run one kernel at a time", file=sys.stderr)
            self.left, self.stream = float("inf"), None
        for p, steps in counted.items():
            self.optimizer.state[p]["step"] = steps

    def _aside(self, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, dict]:
        """A step as it is, on the stream that it is to be recorded on."""
        if self.stream is None:
            return self._step(inputs)
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            made = self._step(inputs)
        current.wait_stream(self.stream)
        return made

    def _step(self, inputs) -> tuple[torch.Tensor, dict]:
        self.optimizer.zero_grad()
        loss, figures = self.learn(*inputs)
        loss.backward()
        groups = self.optimizer.param_groups
        rates = [group["lr"] for group in groups]
        for group, rate in zip(groups, self.rates or rates, strict=True):
            group["lr"] = rate
        self.optimizer.step()
        for group, rate in zip(groups, rates, strict=True):  # a schedule and a checkpoint take numbers
            group["lr"] = rate
        return loss.detach(), figures


def record(work: Callable[[], object], stream: torch.cuda.Stream) -> tuple[Callable[[], None], object]:
    """What ``work`` starts on the GPU, as a function that starts it again, and the tensors that it writes each time."""
    graph, index = torch.cuda.CUDAGraph(), stream.device.index
    try:
        # Restores the stream if torch does not; threads that fetch the next batch may call what a recording may not.
        with torch.cuda.stream(torch.cuda.current_stream(index)), \
                torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            made = work()
    except Exception:  # else the GPU's generator would wait for the recording's end
        fresh = torch.Generator(stream.device)
        torch.cuda.default_generators[index].graphsafe_set_state(fresh.graphsafe_get_state())
        raise
    return graph.replay, made


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason').splitlines()[0]}"
