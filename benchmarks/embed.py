"""Embedding a test set, as infer_train.py does it, against the machine's limit.

Clips are read from the packed file, turned into spectrograms and embedded, in evaluation mode. The limit ("roofline")
is the time that the network's forward multiply-adds take as plain matrix products, measured between the passes. The
first pass, which is not counted, is in bfloat16, to show by how much at most that would move an embedding's values.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import measure
from benchmarks.step import noise_clips
from models.roofline import multiply_adds, roofline
from models.runs.options.common import MODELS

CLIPS = {"Res8": 1400, "Res15": 210, "Quartz": 1400}


def row(args, model: str, folder: Path) -> dict[str, object]:
    import torch

    from models.encoders.build import make_encoder
    from models.encoders.device import pick_device, place
    from models.encoders.embedding import embed_clips
    from models.encoders.frontend import LogMel

    device = pick_device(args.gpu)
    torch.manual_seed(0)
    encoder, frontend = make_encoder(model, 45), LogMel().to(device)
    clips, rate = noise_clips(folder, args.clips or CLIPS[model]), roofline(device)
    work = multiply_adds(encoder) * len(clips)
    encoder = place(encoder, device)
    limits, passes = [], []
    with torch.autocast(device.type, torch.bfloat16):
        rough = embed_clips(encoder, frontend, clips)
    for _ in range(args.repeats):
        limits.append(work / rate())
        began = time.perf_counter()
        embeddings = embed_clips(encoder, frontend, clips)
        passes.append(time.perf_counter() - began)
    limit, taken = measure.Timing(limits), measure.Timing(passes)
    return {"model": model, "clips": len(clips), "a pass": taken, "clips/s": len(clips) / taken.median,
            "limit": limit, "pass / limit": taken.over(limit),
            "moved by bfloat16": float(np.abs(rough - embeddings).max())}


def main() -> None:
    parser = measure.parser("embed", __doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["Res8", "Res15"])
    parser.add_argument("--clips", type=int, help="in the test set (default: 1400, Res15 210)")
    parser.add_argument("--gpu", type=int, default=0, help="number of the GPU; without one, the CPU (default: 0)")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        measure.show("embed", [row(args, model, Path(folder)) for model in args.models], args)


if __name__ == "__main__":
    main()
