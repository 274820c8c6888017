"""How fast a GPU embeds, which layout of memory and width suits it, and what fifteen epochs take.

Each part takes a `Here` and returns rows of a table; limits are those of `benchmarks.gpu.figures`.
"""

from unittest import mock

import numpy as np

from benchmarks import measure
from benchmarks.gpu.figures import WIDTH, forget, network, per_class
from benchmarks.gpu.here import Here, Skipped, arithmetic, limit, stopwatch
from models.roofline import multiply_adds

EPOCHS, TRAINING_CLIPS = 15, 85_000  # of the paper, of Speech Commands


def embedding_rates(here: Here, model: str) -> list[dict[str, object]]:
    """Clips a second from packed audio to embeddings, in float32 as the test scripts do it, by size of batch."""
    import torch

    from models.encoders import embedding
    from models.encoders.build import make_encoder
    from models.encoders.device import place
    from models.encoders.frontend import LogMel

    torch.manual_seed(0)
    encoder, frontend = make_encoder(model, WIDTH), LogMel().to(here.device)
    clips = 8 if here.quick else len(here.noise) if here.gpu else 256
    work, rows = multiply_adds(encoder) * clips, []
    encoder, chosen = place(encoder, here.device), np.arange(clips)
    for size in (4, 8) if here.quick else (32, embedding.BATCH, embedding.BATCH_GPU, 2048):
        forget(here)
        with arithmetic("fp32"), mock.patch.multiple(embedding, BATCH=size, BATCH_GPU=size):
            timed = stopwatch(here, lambda: embedding.embed_clips(encoder, frontend, here.noise, chosen), 0)
        bound = work / limit(here, "fp32")
        rows.append({"model": model, "clips": clips, "batch": size, "a pass": timed, "clips/s": clips / timed.median,
                     "limit": measure.duration(bound), "pass / limit": timed.median / bound})
    return rows


def epochs(here: Here) -> list[dict[str, object]]:
    """What fifteen epochs of Speech Commands take, from the steps measured above; nothing is trained for it."""
    if not here.steps:
        raise Skipped("no step was measured")
    rows = []
    for (model, mode), seconds in here.steps.items():
        count = EPOCHS * (TRAINING_CLIPS // (here.classes * per_class(here, model, 1)))
        rows.append({"model": model, "arithmetic": mode, "steps": count, "a step": measure.duration(seconds),
                     f"{EPOCHS} epochs of {TRAINING_CLIPS:,} clips": measure.duration(count * seconds)})
        if "start" in here.noted:
            rows[-1]["with the start"] = measure.duration(count * seconds + here.noted["start"])
    return rows


def layouts(here: Here, model: str) -> list[dict[str, object]]:
    """A network's forward and backward by memory layout and channels: 45 are no multiple of what a GPU likes."""
    mode, size = "bf16" if here.gpu else "fp32", here.classes * per_class(here, model, 1)
    rows = []
    for width in (WIDTH, 48):
        for layout in ("channels-last", "plain"):
            with arithmetic(mode):
                timed = stopwatch(here, network(here, model, size, mode, width, layout == "plain"))
            rows.append({"model": model, "clips": size, "arithmetic": mode, "channels": width, "layout": layout,
                         "network": timed, "to today's": timed.median / (rows[0]["network"] if rows else timed).median})
    forget(here)
    return rows
