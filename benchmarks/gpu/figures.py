"""How long a training step takes on a GPU, what of it is not network, and what is around it; against what it could be.

Each part takes a `Here` and returns rows of a table. The limit ("roofline") is the time that the network's
multiply-adds take as large matrix products in the same arithmetic, measured beside the step; a step counts three
forward passes. "bytes" is the time that it takes to read every convolution's input and to write its output once at the
rate of a large copy, three times too: what memory asks of a network whose other layers cost nothing.
"""

import itertools
import tempfile
import time
import warnings
from argparse import Namespace
from unittest import mock

import numpy as np

from benchmarks import measure
from benchmarks.gpu.here import Here, Skipped, arithmetic, limit, stopwatch
from benchmarks.step import PER_CLASS
from models.roofline import FRAMES, multiply_adds, synchronise

ORIGINAL_GB = {("Res8", 350): 4.0, ("Res15", 140): 11.0}  # of a K80, as the original's table has it
PROFILED = 4  # steps
WIDTH = 45


def per_class(here: Here, model: str, times: int) -> int:
    return 2 * min(times, 2) if here.quick else times * PER_CLASS[model]


def network(here: Here, model: str, size: int, mode: str, width: int = WIDTH, plain: bool = False):
    """A function that takes the encoder alone forward and back on ``size`` spectrograms. Needs no Lightning.

    Args:
        plain: leave weights in the plain layout of memory instead of `place`'s.
    """
    import torch

    from models.encoders.build import embed, make_encoder
    from models.encoders.device import place

    torch.manual_seed(0)
    encoder = make_encoder(model, width)
    encoder = encoder.to(here.device) if plain else place(encoder, here.device, "bf16" if "bf16" in mode else "32")
    run = torch.compile(encoder, dynamic=False) if "compiled" in mode else encoder
    spectrograms = torch.randn(size, 64, FRAMES, device=here.device)
    gradient = torch.randn(size, width, device=here.device)

    def once() -> None:
        encoder.zero_grad(set_to_none=True)
        with torch.autocast(here.device.type, torch.bfloat16, enabled="bf16" in mode):
            embeddings = embed(run, spectrograms)
        embeddings.backward(gradient)

    return once


def arguments(here: Here, model: str, times: int, mode: str, **more) -> Namespace:
    """TripletEncoder.py's, of the paper's recipe; its schedule, a number a step, is the one that needs no NeMo."""
    from models.runs.options.recipe import RECIPES

    return Namespace(**RECIPES["paper"] | {
        "schedule": "onecycle", "name": "gpu", "model": model, "precision": "bf16" if "bf16" in mode else "32",
        "compile": "compiled" in mode, "spec_augment": None, "seed": 0, "data_probs": 0, "margin": 0.5,
        "mining": "random", "per_class": per_class(here, model, times), "step_freq": 10**9, "eval_freq": 10**9,
        "checkpoints_to_keep": 1, "compression": "log"} | more)


def training(here: Here, args: Namespace, data, noise=None):
    """A function that does a training step of TripletEncoder.py: its task, batches and optimiser, without a loop."""
    import torch

    from data.dataset import loader
    from data.sampler import BalancedBatchSampler
    from models.encoders.build import make_encoder
    from models.encoders.device import place
    from models.training.tasks import TripletTask

    torch.manual_seed(0)
    task = TripletTask(make_encoder(args.model, WIDTH), args, 1_000_000, noise)
    place(task, here.device, args.precision).train()
    made = task.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    sampler = BalancedBatchSampler(here.noise.manifest.label, [], here.classes, args.per_class, num_steps=1_000_000)
    batches = iter(loader(data, sampler, pin_memory=here.gpu and data is here.noise))

    def once() -> None:
        batch = [part.to(here.device, non_blocking=True) for part in next(batches)]
        optimizer.zero_grad(set_to_none=True)
        task.training_step(batch, task.done).backward()
        optimizer.step()
        schedule.step()
        task.done += 1

    return once


def traffic(encoder) -> int:
    """Values that the convolutions and linear layers of one clip's forward read and write, weights excepted."""
    import torch

    from models.encoders import resnet

    counts = []
    hooks = [module.register_forward_hook(lambda _, given, out: counts.append(given[0].numel() + out.numel()))
             for module in encoder.modules() if isinstance(module, (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Linear))]
    with torch.no_grad(), mock.patch.object(resnet, "BY_PARTS", False):  # which calls no modules
        encoder.eval()(torch.zeros(1, 64, FRAMES))
    for hook in hooks:
        hook.remove()
    return sum(counts)


def copying(here: Here) -> float:
    """Bytes a second of a large copy on the device, read and written."""
    import torch

    source = torch.randn((1 << 24) if here.quick else (1 << 28), device=here.device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / stopwatch(here, lambda: target.copy_(source), 0.02).median


def steps(here: Here, model: str, times: int, compiled: bool = False) -> list[dict[str, object]]:
    """A training step by arithmetic, at ``times`` the paper's batch: time, limit, network's share, memory."""
    if not (modes := here.modes(compiled)):
        raise Skipped("compiled on a GPU only")
    return [_step_row(here, model, times, mode) for mode in modes]


def _step_row(here: Here, model: str, times: int, mode: str) -> dict[str, object]:
    import torch

    from models.encoders.build import make_encoder

    size = here.classes * per_class(here, model, times)
    row = {"model": model, "clips": size, "arithmetic": mode}
    work = 3 * multiply_adds(make_encoder(model, WIDTH)) * size
    try:
        with arithmetic(mode):
            forget(here)
            row["network"] = stopwatch(here, network(here, model, size, mode))
            forget(here)
            try:
                once = training(here, arguments(here, model, times, mode), here.resident)
            except ModuleNotFoundError as missing:  # the network's row is worth having without Lightning
                row["step"] = f"needs {missing.name}"
            else:
                row |= _measured_step(here, once, row["network"])
                del once
                if times == 1:
                    here.steps[model, mode] = row["step"].median
        forget(here)
        bound = work / limit(here, mode)
        moved = 3 * size * traffic(make_encoder(model, WIDTH)) * (2 if "bf16" in mode else 4) / copying(here)
        timed = row["step"] if isinstance(row["step"], measure.Timing) else row["network"]
        row |= {"limit": measure.duration(bound), "bytes": measure.duration(moved),
                "step / limit": timed.median / bound,
                "network / larger": row["network"].median / max(bound, moved)}
    except torch.OutOfMemoryError:
        row["step"] = "out of memory"
    if (model, size) in ORIGINAL_GB:
        row["original's GB"] = ORIGINAL_GB[model, size]
    forget(here)
    return row


def _measured_step(here: Here, once, alone: measure.Timing) -> dict[str, object]:
    """Time, share that is not network, waits of the host, launches and the GPU's busy share, and memory of a step."""
    import torch

    once()
    before = 0
    if here.gpu:
        synchronise(here.device)
        torch.cuda.reset_peak_memory_stats(here.device)
        before = here.resident.samples.nbytes if here.resident is not here.noise else 0
    timed = stopwatch(here, once)
    found = {"step": timed, "not network": f"{100 * (1 - alone.median / timed.median):.0f} %"}
    if here.gpu:
        found["peak GB"] = (torch.cuda.max_memory_allocated(here.device) - before) / 1e9
        found |= _profile(here, once, timed.median)
    return found


def _profile(here: Here, once, seconds: float) -> dict[str, object]:
    """Of a step on a GPU: how often the host waited for it, kernels, and the share of the time that it was busy."""
    import torch
    from torch import profiler

    synchronise(here.device)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as waited:
            warnings.simplefilter("always")
            for _ in range(PROFILED):
                once()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = sum("synchroniz" in str(warning.message) for warning in waited)
    with profiler.profile(activities=[profiler.ProfilerActivity.CPU, profiler.ProfilerActivity.CUDA]) as profiled:
        for _ in range(PROFILED):
            once()
        synchronise(here.device)
    on_gpu = [event for event in profiled.key_averages()
              if event.device_type != torch.autograd.DeviceType.CPU and not event.is_user_annotation]
    busy = sum(event.self_device_time_total for event in on_gpu) / 1e6 / PROFILED
    return {"waits": waits / PROFILED, "kernels": round(sum(event.count for event in on_gpu) / PROFILED),
            "GPU busy": f"{min(busy / seconds, 1):.0%}"}


def variants(here: Here) -> list[dict[str, object]]:
    """A bf16 step of Res8 with its audio resident or copied, with the paper's augmentation, and through the Trainer."""
    import soundfile

    from data.augment import NoiseBank

    (here.folder / "bank").mkdir(exist_ok=True)
    soundfile.write(here.folder / "bank" / "hiss.wav", 0.1 * np.random.default_rng(0).standard_normal(480_000), 16_000)
    mode, rows = "bf16" if here.gpu else "fp32", []
    for times in (1,) if here.quick else (1, 10):
        plain = arguments(here, "Res8", times, mode)
        masked = arguments(here, "Res8", times, mode, shift=True, spec_augment="full")
        with arithmetic(mode):
            timed = {"audio resident": stopwatch(here, training(here, plain, here.resident)),
                     "audio copied": stopwatch(here, training(here, plain, here.noise)),
                     "shift, noise and full masks": stopwatch(here, training(
                         here, masked, here.resident, NoiseBank(here.folder / "bank", here.noise.packed.clip_samples)))}
            if times == 1:
                timed["through the Trainer, figures every 10 steps"] = through_trainer(here, plain)
        resident = timed["audio resident"].median
        rows += [{"model": "Res8", "clips": here.classes * plain.per_class, "step": name, "time": timing,
                  "to resident": timing.median / resident} for name, timing in timed.items()]
        forget(here)
    return rows


def through_trainer(here: Here, args: Namespace) -> measure.Timing:
    """Seconds of a step of `fit`, the scripts' own loop."""
    import torch

    from data.sampler import BalancedBatchSampler
    from models.encoders.build import make_encoder
    from models.runs.checkpoints import Run
    from models.training.loop import fit
    from models.training.tasks import TripletTask

    block, blocks = (2, 2) if here.quick else (20, 5)
    marks = []

    class Timed(TripletTask):
        """Marks the time at every ``block`` steps after the first as many."""

        def on_train_batch_start(self, batch, index):
            if index and index % block == 0:
                synchronise(here.device)
                marks.append(time.perf_counter())

    torch.manual_seed(0)
    count = block * (blocks + 1) + 1
    task = Timed(make_encoder(args.model, WIDTH), args, count)
    sampler = BalancedBatchSampler(here.noise.manifest.label, [], here.classes, args.per_class, num_steps=count)
    with tempfile.TemporaryDirectory(dir=here.folder) as folder:
        fit(task, Run(folder, "gpu"), here.noise, sampler, here.device, lambda: 0.0)
    return measure.Timing([(b - a) / block for a, b in itertools.pairwise(marks)])


def forget(here: Here) -> None:
    """Give the memory of what was measured back, so that the next finds the GPU empty."""
    import gc

    import torch

    gc.collect()
    if here.gpu:
        torch.cuda.empty_cache()


