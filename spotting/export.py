"""Export an encoder as one ONNX file, front end inside: waveforms in, unit embeddings out, by onnxruntime anywhere.

    python -m spotting.export --name my_encoder --out encoder.onnx

Input "waveforms": (B, S) float32 in [-1, 1] at 16 kHz, S the encoder's clip length, any B. Output "embeddings":
(B, D) float32 of length 1. An encoder with context takes longer sounds, too, and "rows" is what their windows share.
The file's metadata say the sample rate, clip length, front end, run and step, and hold the cohort that is kept beside
the encoder, the embedding of a fixed sound and a digest of the file: one that was changed is refused.
"""

import argparse
import base64
import json
import logging
import warnings
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from data.audio.decoding import decode
from data.base.errors import UserError, exit_cleanly
from data.base.files import check_output, write_atomically
from data.folder.word_stretch import examine
from models.context import MARGIN, ROW
from spotting.command import warn
from spotting.encoders.load import Facts, add_encoder, load, load_onnx, probe, sealed
from spotting.sound.blocks import files_of

MOST = 1e-4  # difference of an embedding's value from torch's
CHECKED = 200  # clips at most
OPSET = 18


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m spotting.export", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .onnx file to write")
    parser.add_argument("--check", type=Path, nargs="+", metavar="PATH",
                        help=f"recordings, and folders of such: on the loudest stretch of up to {CHECKED} of them the "
                             "export is compared with torch, too (default: on noise and near silence only)")
    add_encoder(parser, "the shipped one", onnx=False)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    if args.out.suffix != ".onnx":
        raise UserError(f"--out {args.out}: must end in .onnx")
    files = files_of(args.check, "--check", warn) if args.check else []
    check_output(args.out)
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if not find_spec(package):
            raise UserError(f"{package} is not installed: pip install -r requirements-spotting.txt")

    # The file.
    embedder = load(args)
    content = export(embedder.facts, embedder.cohort)

    # Its embeddings against torch's.
    exported, bare = replace(load_onnx(args.out, content), cohort=None), replace(embedder, cohort=None)
    clips = made_up_clips(embedder.facts.clip_samples)
    if files:
        found = examine(files[::-(-len(files) // CHECKED)], embedder.facts.clip_seconds)
        warn(*(f"left out {one}" for one in found if isinstance(one, str)))
        clips = np.stack([*clips, *(embedder.facts.clip_of(decode(one.path, one.offset, one.duration))
                                    for one in found if not isinstance(one, str))])
    largest = max(float(np.abs(exported(part) - bare(part)).max()) for part in (clips, clips[-1:]))
    if not largest <= MOST:
        raise UserError(f"{args.out}: not written: its embeddings differ by up to {largest:.1e} from torch's")
    with write_atomically(args.out, "wb") as file:
        file.write(content)
    print(f"{len(clips)} clips: largest difference from torch {largest:.1e} (at most {MOST:g})")
    print(f"wrote {args.out}: {embedder.facts}, {len(content) / 1e6:.1f} MB")
    return 0


def made_up_clips(length: int) -> np.ndarray:
    """(N, ``length``) int16: noise of all levels; and what is hardest to compute alike, since normalising makes it as
    loud as speech: zeros, noise of about -100 dB of full scale, and single samples."""
    rng, clips = np.random.default_rng(0), np.zeros((18, length), np.int16)
    clips[1] = rng.normal(0, 0.33, length).round()
    clips[2, :length // 2] = rng.normal(0, 1, length // 2).round()
    clips[range(3, 8), [0, length // 2, length // 3, length // 2, length - 1]] = 1, 1, -40, 32767, -300
    for clip, level in zip(clips[8:], 3.0 ** np.arange(10), strict=True):
        clip[:] = rng.normal(0, level, length).clip(-32768, 32767)
    return clips


def export(facts: Facts, cohort=None) -> bytes:
    """The ONNX file of an encoder and its cohort."""
    import onnx
    import torch

    from models.encoders import load_encoder
    from spotting.encoders.plain import PlainEncoder

    encoder = load_encoder(facts.path)
    plain, sample = PlainEncoder(encoder).eval(), 0.1 * torch.randn(2, facts.clip_samples)
    sizes, outputs = {0: torch.export.Dim("clips", min=1, max=65_536)}, ["embeddings"]
    if facts.context_seconds:
        sizes[1], outputs = torch.export.Dim("samples", min=2 * MARGIN * ROW + ROW, max=2**24), ["embeddings", "rows"]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of opset versions and constants folded
        model = torch.onnx.export(plain, (sample,), dynamo=True, opset_version=OPSET, verbose=False,
                                  input_names=["waveforms"], output_names=outputs, dynamic_shapes=(sizes,)).model_proto
    arrays = {"probe": encoder(torch.from_numpy(probe(facts.clip_samples))).numpy()}
    if facts.context_seconds:
        arrays |= zip(("weight", "bias"), encoder.projection(), strict=True)
    encoded = {key: array.astype("<f4").tobytes() for key, array in arrays.items()}
    encoded |= {"cohort": cohort.content} if cohort else {}
    values = {key: getattr(facts, key) for key in ("run", "model", "step", "sha256", "width", "clip_samples",
                                                   "clip_seconds")}
    values |= {"sample_rate": facts.frontend["sample_rate"], "frontend": json.dumps(facts.frontend)}
    values |= {key: base64.b64encode(content).decode() for key, content in encoded.items()}
    onnx.helper.set_model_props(model, {key: str(value) for key, value in values.items()})
    onnx.checker.check_model(model, full_check=True)
    return sealed(model.SerializeToString())


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
