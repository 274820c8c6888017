"""Keep a cohort beside an encoder: embeddings of training clips, which thresholds without a background are set by.

    python -m spotting.cohort --name my_encoder --manifest mywords

It lies in the run's folder, cohort.npz, and goes where the encoder goes, without the recordings.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.base.errors import UserError, exit_cleanly
from data.base.files import ROOT, open_regular, write_atomically
from spotting.encoders import add_encoder, check_flags, load

if TYPE_CHECKING:
    from data.manifests import Manifest
    from spotting.encoders import Embedder, Facts

KEPT = "cohort.npz"


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m spotting.cohort", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", required=True, help="what the encoder was trained on, or other words: registered")
    parser.add_argument("--registry", type=Path, default=ROOT / "manifests.json",
                        help="the file that --manifest is looked up in (default: manifests.json beside the scripts)")
    add_encoder(parser, "the shipped one", onnx=False)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    from data import joined
    from models.evaluation import cohort

    check_flags(args)
    corpus = joined.load(args.manifest, ("train",), args.registry)
    clips = cohort.choose(corpus, ())
    embedder = load(args)
    path = place_of(embedder.facts)
    if path is None:
        raise UserError(f"{embedder.facts.path}: lies in no run's folder, where a cohort could be kept")
    embeddings, labels = embed(embedder, clips)
    with write_atomically(path, "wb") as file:
        np.savez_compressed(file, embeddings=embeddings.astype(np.float16), labels=np.array(labels),
                            sha256=embedder.facts.sha256)
    print(f"wrote {path}: {len(labels):,} clips of {len(set(labels)):,} words of --manifest {args.manifest}")
    return 0


def embed(embedder: Embedder, clips: Manifest) -> tuple[np.ndarray, list[str]]:
    """Embeddings (M, D) of clips, and their labels; those that cannot be decoded are left out."""
    from data.decoding import decode, fit

    waveforms, labels = [], []
    for i in range(len(clips)):
        one = clips[i]
        try:
            waveforms.append(fit(decode(one.path, one.offset, one.duration), embedder.facts.clip_samples))
        except UserError:  # such clips were told when they were trained on
            continue
        labels.append(one.label)
    if not waveforms:
        return np.zeros((0, embedder.facts.width), np.float32), labels
    return embedder(np.stack(waveforms)), labels


def place_of(facts: Facts) -> Path | None:
    """Where an encoder's cohort is kept; None for one that lies in no run's folder."""
    path = Path(facts.path)
    return path.parent.parent / KEPT if path.suffix == ".pt" and path.parent.name == "checkpoints" else None


def read_kept(facts: Facts, taken: Sequence[str]) -> np.ndarray | None:
    """The embeddings (M, D) kept beside an encoder, of words that are not ``taken``; None if there are none.

    Raises:
        UserError: the file is damaged, or another encoder's.
    """
    from models.evaluation.enrol import same_name

    path = place_of(facts)
    if path is None or not path.exists():
        return None
    try:
        with open_regular(path) as file, np.load(file) as kept:
            embeddings, labels, sha256 = kept["embeddings"].astype(np.float32), kept["labels"], str(kept["sha256"])
        whole = embeddings.shape == (len(labels), facts.width) and np.isfinite(embeddings).all()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read ({error}); make it again with python -m spotting.cohort, or remove "
                        "it") from None
    if sha256 != facts.sha256 or not whole:
        raise UserError(f"{path}: is not of this encoder, {facts}; make it again with python -m spotting.cohort, or "
                        "remove it")
    names = {same_name(name) for name in taken}
    return embeddings[[same_name(str(label)) not in names for label in labels]]


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
