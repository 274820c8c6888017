"""Export an encoder as one ONNX file, front end inside: waveforms in, unit embeddings out, by onnxruntime anywhere.

    python -m spotting.export --name my_encoder --out encoder.onnx

Input "waveforms": (B, S) float32 in [-1, 1] at 16 kHz, S the encoder's clip length, any B. Output "embeddings":
(B, D) float32 of length 1. The file's metadata say the sample rate, clip length, front end, run and step, and hold the
cohort that is kept beside the encoder, the embedding of a fixed sound and a digest of the file: one that was changed is
refused.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from data.base.errors import UserError, exit_cleanly
from spotting.command import check_output, warn
from spotting.encoders.load import add_encoder, check_flags, load_onnx, probe, sealed

MOST = 1e-4  # difference of an embedding's value from torch's
CHECKED = 200  # clips at most
OPSET = 18


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m spotting.export", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .onnx file to write")
    parser.add_argument("--check", type=Path, nargs="+", metavar="PATH",
                        help=f"recordings, and folders of such: on the loudest stretch of up to {CHECKED} of them the "
                             "export is compared with torch (default: the test clips of the data that the encoder was "
                             "trained on, else of --manifest=demo)")
    add_encoder(parser, "the shipped one", onnx=False)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    from spotting.sound.blocks import files_of

    check_flags(args)
    if args.out.suffix != ".onnx":
        raise UserError(f"--out {args.out}: must end in .onnx")
    files = files_of(args.check, "--check", warn) if args.check else None
    check_output(args.out)
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(package)
        except ImportError:
            raise UserError(f"{package} is not installed: pip install -r requirements-spotting.txt") from None
    import numpy as np

    from data.base.files import write_atomically
    from spotting.encoders.load import load

    embedder = load(args)
    clips, source = clips_to_check(files, embedder.facts)
    content = export(embedder.facts, embedder.cohort)
    exported, bare = replace(load_onnx(args.out, content), cohort=None), replace(embedder, cohort=None)
    largest = 0.0
    for checked, what in ((clips, source), (clips[:1], source), (near_silence(embedder.facts.clip_samples),
                                                                 "silence, faint noise and clicks")):
        differs = float(np.abs(exported(checked) - bare(checked)).max())
        if not differs <= MOST:
            raise UserError(f"{args.out}: its embeddings differ by up to {differs:.1e} from torch's on {what}, more "
                            f"than {MOST:g}; it was not written. Please report it with the versions of torch, onnx and "
                            "onnxruntime")
        largest = max(largest, differs)
    with write_atomically(args.out, "wb") as file:
        file.write(content)
    print(f"{source}, and near silence: largest difference from torch {largest:.1e} (at most {MOST:g})")
    print(f"wrote {args.out}: {embedder.facts}, {len(content) / 1e6:.1f} MB")
    return 0


def clips_to_check(files, facts):
    """(N, S) int16 of real clips, the loudest stretch of each recording, and what they are."""
    import numpy as np

    from data.audio.decoding import decode, fit
    from data.folder.word_stretch import examine
    from spotting.sound.blocks import has_sound

    named = files or known_clips(facts)
    named = named[::-(-len(named) // CHECKED)]
    clips = []
    for recording in examine((named, facts.clip_seconds)):
        if isinstance(recording, str):
            warn(f"left out {recording}")
            continue
        clips.append(fit(decode(recording.path, recording.offset, recording.duration), facts.clip_samples))
    clips = [clip for clip in clips if has_sound(clip[None])[0]]
    if not clips:
        raise UserError("--check: nothing but silence in these recordings; name others")
    return np.stack(clips), f"{len(clips)} clips, such as {named[0]}"


def near_silence(length: int):
    """(N, ``length``) int16 of what is hardest to compute alike, since normalising makes it as loud as speech: zeros,
    noise of about -100 dB of full scale, and single samples."""
    import numpy as np

    clips = np.zeros((8, length), np.int16)
    rng = np.random.default_rng(0)
    clips[1] = rng.normal(0, 0.33, length).round()
    clips[2, :length // 2] = rng.normal(0, 1, length // 2).round()
    for clip, (at, value) in zip(clips[3:], ((0, 1), (length // 2, 1), (length // 3, -40), (length // 2, 32767),
                                             (length - 1, -300)), strict=True):
        clip[at] = value
    return clips


def known_clips(facts) -> list[str]:
    """Test clips of the data that an encoder was trained on, as far as they are there; else the demo's."""
    from models.runs.checkpoints import Run

    run = Run(Path(facts.path).parent.parent.parent, facts.run)
    begun = run.config().get("arguments", {})
    for name, registry in ((begun.get("manifest"), begun.get("registry")), ("demo", None)):
        try:
            from data.manifests.corpus import load_corpus
            from data.manifests.registry import REGISTRY

            if name == "demo" and not registry:
                from data.demo.synthesis import make
                from data.manifests.registry import registered

                if not (REGISTRY.parent / registered("demo")["train"]).exists():
                    make()
            test = load_corpus(name, ("test",), registry or REGISTRY).splits["test"] if name else None
        except UserError:
            continue
        there = [file for file in test.files if Path(file).exists()] if test else []
        if there:
            return there[::max(1, len(there) // CHECKED)][:CHECKED]
    raise UserError("no recordings are there to compare the export with torch on; name some with --check")


def export(facts, cohort=None) -> bytes:
    """The ONNX file of an encoder and its cohort."""
    import base64
    import logging
    import warnings

    import onnx
    import torch

    from models.encoders import load_encoder
    from spotting.encoders.plain import PlainEncoder

    encoder = load_encoder(facts.path)
    plain, sample = PlainEncoder(encoder).eval(), 0.1 * torch.randn(2, facts.clip_samples)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of opset versions and constants folded
        program = torch.onnx.export(plain, (sample,), dynamo=True, opset_version=OPSET, verbose=False,
                                    input_names=["waveforms"], output_names=["embeddings"],
                                    dynamic_shapes=({0: torch.export.Dim("clips", min=1, max=65_536)},))
    model = program.model_proto
    values = {"sample_rate": facts.frontend["sample_rate"], **{key: getattr(facts, key) for key in
                                                               ("run", "model", "step", "sha256", "width",
                                                                "clip_samples")},
              "frontend": json.dumps(facts.frontend), "clip_seconds": facts.clip_seconds,
              "probe": base64.b64encode(encoder(torch.from_numpy(probe(facts.clip_samples))).numpy().astype("<f4"))
              .decode()}
    if cohort:
        values["cohort"] = base64.b64encode(cohort.content).decode()
    onnx.helper.set_model_props(model, {key: str(value) for key, value in values.items()})
    onnx.checker.check_model(model, full_check=True)
    return sealed(model.SerializeToString())


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
