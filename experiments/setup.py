"""How cells are run here: where, with what flags of this machine, on what data, and on what share of it."""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.belongs import Data
from experiments.cells import Cell
from experiments.protocol import Protocol


@dataclass(frozen=True)
class Setup:
    """How to run cells here.

    Attributes:
        runs_dir: gets a run for each cell.
        common: flags of this machine for all scripts.
        training: flags of this machine for the training scripts.
        ks: numbers of neighbours to test kNN with.
        registry: where the manifests of whole data sets are looked up.
        data: what results belong to.
        stale: names of cells whose results are of other data.
        protocol: how words are enrolled that no encoder heard, if they are.
        looks: what encoders are looked at with while they are trained, as TripletEncoder.py's --eval.
    """

    runs_dir: Path
    registry: Path
    data: Data
    stale: frozenset[str] = frozenset()
    common: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    ks: tuple[int, ...] = (5,)
    protocol: Protocol | None = None
    looks: str = "dev"

    def flags(self, cell: Cell, enrolling: bool = False) -> list[str]:
        """``enrolling``: for what looks up the protocol's data sets, not the cell's own."""
        registry = self.registry if enrolling or cell.fraction == 1 else self.runs_dir / "manifests.json"
        return [f"--runs_dir={self.runs_dir}", f"--registry={registry}", *self.common]

    def at_new_words(self, cell: Cell) -> bool:
        """Whether a cell's encoder is looked at with the data set's new words, which cross-entropy's is not."""
        return self.looks == "new_words" and cell.encoder.method == "knn" and cell.method != "head"


def machine_flags(args: Namespace) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Flags for all scripts and for the training scripts only."""
    common = [f"--gpu={args.gpu}", f"--cache_dir={args.cache_dir}"] + ["--skip_bad_audio"] * args.skip_bad_audio
    return tuple(common), (f"--precision={args.precision}",) if args.precision else ()


def make_fraction(manifest: str, fraction: float, registry: Path, folder: Path) -> None:
    """Register ``<manifest>-<fraction>`` in ``folder/manifests.json``: dev and test as they are, fewer training clips.

    Of each class the first of a fixed random order, at least two, so that a smaller share lies within a larger one. Of
    sets joined by +, each is registered so.
    """
    from data.joined import JOIN, parts_of
    from data.manifests import load_corpus, register, registered, write_manifest

    parts = parts_of(manifest, registry)
    for part in parts if len(parts) > 1 else [manifest]:
        corpus, entry = load_corpus(part, registry=registry), registered(part, registry)
        train = corpus.splits["train"]
        kept = []
        for c, count in enumerate(train.counts()):
            order = np.random.default_rng([0, c]).permutation(np.flatnonzero(train.label == c))
            kept.extend(order[:max(2, round(fraction * count))])
        name = JOIN.join(f"{word}-{fraction:g}" for word in part.split(JOIN))  # as `experiments.cells.Cell.data`
        path = folder / "manifests" / f"{name}-train.json"
        write_manifest(path, (train[i] for i in sorted(kept)))
        here = Path(registry).absolute().parent
        held = entry.get("new_words")
        register(name, train=path, dev=here / entry["dev"], test=here / entry["test"], noise=corpus.noise,
                 new_words=here / held if held else None, registry=folder / "manifests.json")
