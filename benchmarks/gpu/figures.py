"""How long training steps and embeddings take on a GPU, one way beside the other, and at the limit of the hardware.

The limit is the larger of two times: of the network's multiply-adds as large matrix products in the same arithmetic,
and of moving each convolution's output five times, which is written, read by the next layer, and read twice and written
once as gradients come back. Both are measured beside the steps. A step counts three forward passes.
"""

import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from benchmarks import measure
from benchmarks.gpu.here import WIDTH, Here, arithmetic, copied, forget, limit, stopwatch, stopwatches
from benchmarks.measure import Failed, multiply_adds, outputs, synchronise
from benchmarks.step import PER_CLASS, settings
from data.dataset import ResidentClips, loader
from data.sampler import BalancedBatchSampler
from models.encoders.build import make_encoder
from models.encoders.device import place
from models.encoders.embedding import BATCH, BATCH_GPU, embed_clips
from models.encoders.frontend import LogMel
from models.runs.options.loss import LOSSES
from models.training.faster import WARM

PASSES = 5  # over a convolution's output


class Way(NamedTuple):
    """How a step is computed; ``flags`` are TripletEncoder.py's."""
    arithmetic: str = "bf16"
    padded: bool = True
    flags: dict[str, object] | None = None


WAYS = {"fp32": Way("fp32", False), "TF32": Way("TF32", False), "TF32, padded": Way("TF32"), "bf16": Way(padded=False),
        "bf16, padded": Way(), "bf16, graph": Way(padded=False, flags={"graph": True}),
        "bf16, padded, graph": Way(flags={"graph": True})}
BEST = ("bf16", "bf16, padded, graph")  # of them, what compiled steps and a batch ten times as large are held to
COMPILED = {"bf16, padded, compiled": Way(flags={"compile": True}),  # apart, for it may take minutes
            "bf16, padded, compiled, graph": Way(flags={"compile": True, "graph": True})}
DATA = {"plain": {}, "masks": {"spec_augment": "full"}, "shift and speed": {"shift": True, "speed": True},
        "rooms": {"reverb": 0.5}, "voices": {"babble": 0.3},
        "bands, gain, vocal tracts": {"band_limit": 0.3, "gain": 0.5, "vtlp": 0.5},
        "--augment": {"shift": True, "augment": True}}


def task_of(here: Here, model: str, way: Way, times: int = 1):
    """The task of TripletEncoder.py with that way's flags, begun from seed 0, and a function that gives its batches."""
    from data.augment import NoiseBank
    from models.losses.build import make_loss
    from models.training.tasks import TripletTask

    torch.manual_seed(0)
    clips = 2 * min(times, 2) if here.quick else times * PER_CLASS[model]
    bf16 = way.arithmetic == "bf16" and not here.quick  # which some CPUs take a minute for
    args = settings("paper", model, clips, schedule="onecycle",  # which needs no NeMo
                    precision="bf16" if bf16 else "32", clip_seconds=1.0, loss_lr=1e-3, **(way.flags or {}))
    encoder = make_encoder(model, WIDTH)
    encoder.padded = way.padded
    noise = NoiseBank(here.hiss, 16_000, args.noise_snr) if args.augment else None
    task = TripletTask(encoder, args, 1_000_000, noise, make_loss(args))
    place(task, here.device, args.precision).train()
    sampler = BalancedBatchSampler(here.noise.manifest.label, [], here.classes, clips, num_steps=1_000_000)
    batches = iter(loader(ResidentClips.if_they_fit(here.noise, here.device), sampler))
    return task, lambda: [part.to(here.device, non_blocking=True) for part in next(batches)]


def steps_of(here: Here, model: str, way: Way, times: int = 1) -> tuple[object, Callable, Callable]:
    """The task, a function that does a step of it on resident audio, without the loop, and one that does all but
    augmentation again and again, on one batch: what ``--graph`` records."""
    task, batch = task_of(here, model, way, times)
    made = task.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]

    def learn(prepared) -> None:
        with arithmetic(way.arithmetic):
            loss, task.figures = (task.recorded or task.learn)(*prepared)
            if task.recorded is None:
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()

    def once() -> None:
        learn(task.prepare(batch()))
        schedule.step()
        task.done += 1

    return task, once, partial(learn, task.prepare(batch()))


def fallen_back(task) -> str:
    """What of a task's way did not come about: no figure may be taken for that of another way."""
    compiled = task.args.compile and task.trained[0].call is task.encoder
    recorded = task.args.graph and (task.recorded is None or task.recorded.replay is None)
    return " (NOT COMPILED)" * compiled + " (NOT RECORDED)" * recorded


def compared(here: Here, model: str, ways: dict[str, Way], times: int = 1) -> list[dict[str, object]]:
    """A row for each way, timed in turn: the first steps, a step, what of it follows augmentation, and the limit."""
    torch.compiler.reset()  # else those of earlier parts count against the number of times that one may compile
    rows, built = {}, {}
    for name, way in ways.items():
        rows[name] = row = {"model": model, "way": name}
        forget(here)
        before = torch.cuda.memory_reserved(here.device) if here.gpu else 0
        try:
            task, once, learn = steps_of(here, model, way, times)
            row["clips"], began = here.classes * task.args.per_class, time.perf_counter()
            for _ in range(WARM + 1):
                once()
            synchronise(here.device)
            row["first steps"] = measure.duration(time.perf_counter() - began)
            row["way"] += fallen_back(task)
            if here.gpu:  # reserved, for what a graph holds does not count as allocated
                row["GB, audio included"] = (torch.cuda.memory_reserved(here.device) - before) / 1e9
            built |= {(name, "step"): once, (name, "front end and on"): learn}
        except torch.OutOfMemoryError:
            row["step"] = "out of memory"
        task = once = learn = None
    for (name, part), timing in stopwatches(here, built).items():
        rows[name][part] = timing
    built.clear()
    bounds = {mode: least(here, model, mode) for mode in {way.arithmetic for way in ways.values()}}
    for name, row in rows.items():
        if "front end and on" in row:
            bound = row["clips"] * bounds[ways[name].arithmetic]
            row |= {"limit": measure.duration(bound),
                    "front end and on / limit": row["front end and on"].median / bound}
    forget(here)
    return list(rows.values())


def least(here: Here, model: str, mode: str) -> float:
    """The time that a step's arithmetic or its memory traffic takes at least, seconds a clip."""
    encoder = make_encoder(model, WIDTH)
    moved = PASSES * (2 if mode == "bf16" else 4) * sum(values for values, _ in outputs(encoder))  # bytes
    return max(3 * multiply_adds(encoder) / limit(here, mode), moved / copied(here))


def steps(here: Here, model: str, names=tuple(WAYS), times: int = 1) -> list[dict[str, object]]:
    """A training step in ways of these names, at ``times`` the paper's batch."""
    return compared(here, model, {name: (WAYS | COMPILED)[name] for name in names}, times)


def data(here: Here) -> list[dict[str, object]]:
    """A step of Res8 with each augmentation over one without."""
    rows = compared(here, "Res8", {name: Way(flags={"graph": True} | flags) for name, flags in DATA.items()})
    plain = rows[0]["step"]
    return [{key: row[key] for key in ("way", "clips", "step")} | {"step / plain": row["step"].over(plain)}
            for row in rows]


def losses(here: Here) -> list[dict[str, object]]:
    """A step of Res8 by each loss."""
    return compared(here, "Res8", {loss: Way(flags={"loss": loss, "graph": True} | {
        flag: value for flag, value in values.items() if value is not None}) for loss, values in LOSSES.items()})


def agreement(here: Here, ways: dict[str, Way]) -> str:
    """Whether steps in the bf16 ``ways`` change the weights as plain steps do: all in float32, where rounding chooses
    few other triplets. Raises Failed, also if a way fell back on a GPU to the plain one."""
    def change(way: Way) -> np.ndarray:
        task, once, _ = steps_of(here, "Res8", way)
        before = [p.detach().clone() for p in task.encoder.parameters()]
        for _ in range(WARM + 4):
            once()
        if here.gpu and (lacking := fallen_back(task)):
            raise Failed(f"a step of {way}{lacking}")
        return torch.cat([(p - old).flatten() for p, old in zip(task.encoder.parameters(), before, strict=True)]
                         ).detach().cpu().double().numpy()

    torch.compiler.reset()
    plain, found = change(Way("fp32", False)), {}
    for name, way in ways.items():
        if way.arithmetic == "bf16":
            other = change(way._replace(arithmetic="fp32"))
            found[name] = float(np.linalg.norm(other - plain) / np.linalg.norm(plain))
    told = "by this share the weights' change differs in float32 (at most 0.02): " + "; ".join(
        f"{name.removeprefix('bf16, ')} {apart:.1e}" for name, apart in found.items())
    if not max(found.values()) <= 0.02:
        raise Failed(told)
    return told


def embedding(here: Here, model: str) -> list[dict[str, object]]:
    """Clips a second from packed audio to embeddings, in float32 as the test scripts do it, by size of batch, and where
    the audio lies."""
    torch.manual_seed(0)
    encoder, frontend, rows = make_encoder(model, WIDTH), LogMel().to(here.device), []
    clips = 8 if here.quick else len(here.noise) if here.gpu else 256
    work, encoder = multiply_adds(encoder) * clips, place(encoder, here.device)
    places = (("host", here.noise), ("device", ResidentClips(here.noise, here.device)))
    sizes = (4, 8) if here.quick else (32, BATCH, BATCH_GPU, 2048)
    for (where, audio), size in itertools.product(places, sizes):
        forget(here)
        with arithmetic("fp32"):
            timed = stopwatch(here, partial(embed_clips, encoder, frontend, audio, np.arange(clips), batch=size), 0)
        bound = work / limit(here, "fp32")
        rows.append({"model": model, "audio on": where, "clips": clips, "batch": size, "a pass": timed,
                     "clips/s": clips / timed.median, "limit": measure.duration(bound),
                     "pass / limit": timed.median / bound})
    return rows
