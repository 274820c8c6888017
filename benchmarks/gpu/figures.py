"""How long a training step and an embedding take on a GPU, and at the limit of its arithmetic.

The limit ("roofline") is the time that the network's multiply-adds take as large matrix products in the same
arithmetic, measured beside it. A step counts three forward passes.
"""

from argparse import Namespace

import numpy as np
import torch

from benchmarks import measure
from benchmarks.gpu.here import WIDTH, Here, arithmetic, forget, limit, stopwatch
from benchmarks.roofline import FRAMES, multiply_adds, synchronise
from benchmarks.step import PER_CLASS


def per_class(here: Here, model: str, times: int = 1) -> int:
    return 2 * min(times, 2) if here.quick else times * PER_CLASS[model]


def network(here: Here, model: str, size: int, mode: str):
    """A function that takes the encoder alone forward and back on ``size`` spectrograms."""
    from models.encoders.build import embed, make_encoder
    from models.encoders.device import place

    torch.manual_seed(0)
    encoder = place(make_encoder(model, WIDTH), here.device, "bf16" if mode == "bf16" else "32")
    spectrograms = torch.randn(size, 64, FRAMES, device=here.device)
    gradient = torch.randn(size, WIDTH, device=here.device)

    def once() -> None:
        encoder.zero_grad(set_to_none=True)
        with torch.autocast(here.device.type, torch.bfloat16, enabled=mode == "bf16"):
            embeddings = embed(encoder, spectrograms)
        embeddings.backward(gradient)

    return once


def training(here: Here, model: str, times: int, mode: str):
    """A function that does a step of TripletEncoder.py on resident audio: its task and optimiser, without its loop."""
    from benchmarks.step import settings
    from data.dataset import ResidentClips, loader
    from data.sampler import BalancedBatchSampler
    from models.encoders.build import make_encoder
    from models.encoders.device import place
    from models.training.tasks import TripletTask

    torch.manual_seed(0)
    args = Namespace(**settings("paper", model, per_class(here, model, times)) | {
        "schedule": "onecycle", "precision": "bf16" if mode == "bf16" else "32"})  # a schedule without NeMo
    task = TripletTask(make_encoder(model, WIDTH), args, 1_000_000)
    place(task, here.device, args.precision).train()
    made = task.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    sampler = BalancedBatchSampler(here.noise.manifest.label, [], here.classes, args.per_class, num_steps=1_000_000)
    batches = iter(loader(ResidentClips.if_they_fit(here.noise, here.device), sampler))

    def once() -> None:
        batch = [part.to(here.device, non_blocking=True) for part in next(batches)]
        optimizer.zero_grad(set_to_none=True)
        task.training_step(batch, task.done).backward()
        optimizer.step()
        schedule.step()
        task.done += 1

    return once


def steps(here: Here, model: str, times: int = 1) -> list[dict[str, object]]:
    """A training step by arithmetic, at ``times`` the paper's batch: time, limit, share that is not network, memory."""
    from models.encoders.build import make_encoder

    size, rows = here.classes * per_class(here, model, times), []
    work = 3 * multiply_adds(make_encoder(model, WIDTH)) * size
    for mode in ("fp32", "TF32", "bf16") if here.gpu else ("fp32",):
        row = {"model": model, "clips": size, "arithmetic": mode}
        forget(here)
        try:
            with arithmetic(mode):
                row["network"] = stopwatch(here, network(here, model, size, mode))
                forget(here)
                once = training(here, model, times, mode)
                once()
                if here.gpu:
                    synchronise(here.device)
                    torch.cuda.reset_peak_memory_stats(here.device)
                row["step"] = stopwatch(here, once)
            row["not network"] = f"{100 * (1 - row['network'].median / row['step'].median):.0f} %"
            if here.gpu:
                row["peak GB, audio included"] = torch.cuda.max_memory_allocated(here.device) / 1e9
        except torch.OutOfMemoryError:
            row["step"] = "out of memory"
        once = None
        bound = work / limit(here, mode)
        rows.append(row | {"limit": measure.duration(bound)} | (
            {"network / limit": row["network"].median / bound} if "network" in row else {}))
    forget(here)
    return rows


def embedding(here: Here, model: str) -> list[dict[str, object]]:
    """Clips a second from packed audio to embeddings, in float32 as the test scripts do it, by size of batch."""
    from models.encoders.build import make_encoder
    from models.encoders.device import place
    from models.encoders.embedding import BATCH, BATCH_GPU, embed_clips
    from models.encoders.frontend import LogMel

    torch.manual_seed(0)
    encoder, frontend = make_encoder(model, WIDTH), LogMel().to(here.device)
    clips = 8 if here.quick else len(here.noise) if here.gpu else 256
    work, rows = multiply_adds(encoder) * clips, []
    encoder, chosen = place(encoder, here.device), np.arange(clips)
    for size in (4, 8) if here.quick else (32, BATCH, BATCH_GPU, 2048):
        forget(here)
        with arithmetic("fp32"):
            timed = stopwatch(here, lambda size=size: embed_clips(encoder, frontend, here.noise, chosen, batch=size), 0)
        bound = work / limit(here, "fp32")
        rows.append({"model": model, "clips": clips, "batch": size, "a pass": timed, "clips/s": clips / timed.median,
                     "limit": measure.duration(bound), "pass / limit": timed.median / bound})
    return rows
