"""What is tested, and what a test found: the arguments of reports, files and pages."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import nn

    from data.dataset import Clips
    from data.manifests.corpus import Corpus
    from data.manifests.manifest import Manifest
    from models.encoders.frontend import LogMel
    from models.enrolment.enrol import Result
    from models.runs.checkpoints import Run


@dataclass
class Subject:
    """An encoder to test and the data to test it on.

    Attributes:
        args: of infer_train.py.
        config: of the encoder's run.
        clips: by split.
        out, name: folder of the files, and the ending of their names.
        facts: what is known so far, for the JSON.
    """

    args: Namespace
    config: dict
    encoder: nn.Module
    frontend: LogMel
    corpus: Corpus
    clips: dict[str, Clips]
    out: Path
    name: str
    facts: dict

    @classmethod
    def open(cls, args: Namespace, run: Run, step: int, config: dict, corpus: Corpus,
             clips: dict[str, Clips]) -> Subject:
        """The encoder of a run's step on its device; arguments as `models.encoders.load.find_encoder` filled them in.
        """
        from models.encoders.device import pick_device, place
        from models.encoders.frontend import LogMel
        from models.encoders.load import build_encoder
        from models.runs import session

        device = pick_device(args.gpu)
        facts = {"encoder": str(run.path(args.model, step)), "manifest": args.manifest,
                 "clip_seconds": args.clip_seconds}
        return cls(args, config, place(build_encoder(args, run, step, config), device),
                   LogMel(args.compression).to(device), corpus, clips, session.own_run(args, args.name).folder,
                   f"{args.manifest}-{args.model}-{step}", facts)

    def embed(self, split: str, rows: np.ndarray | None = None, normalise: bool = True) -> np.ndarray:
        """Embeddings (N, D) of all clips of a split, or of those at ``rows``.

        Raises:
            UserError: one that should have length 1 has not, or is no number.
        """
        from models.encoders.embedding import embed_clips
        from models.neighbours.knn import check_finite

        clips = self.clips[split] if rows is None else self.clips[split].subset(rows)
        vectors = embed_clips(self.encoder, self.frontend, clips, title=f"embedding {split}", normalise=normalise)
        if normalise:
            check_finite(vectors, split, clips.manifest)
        return vectors


@dataclass
class Outcome:
    """A test in which every clip gets one class.

    Attributes:
        stem: beginning of the files' names.
        tested: the Q clips.
        predicted: (Q,) classes.
        facts: what was tested and how.
        command: the one that makes this test again.
        distances: (Q, k) squared Euclidean distances of the nearest train clips, for a vote of neighbours.
        scores: (Q,) probability of the predicted class, for a head.
        pairs: the figures of `models.neighbours.pairs`.
        by_k: (Q,) predictions by several numbers of neighbours.
    """

    stem: str
    tested: Manifest
    predicted: np.ndarray
    facts: dict
    command: str | None = None
    distances: np.ndarray | None = None
    scores: np.ndarray | None = None
    pairs: dict | None = None
    by_k: dict[int, np.ndarray] | None = None


@dataclass
class Embedded:
    """Clips of a data set: ``rows`` (N,) of ``clips``, and their embeddings ``vectors`` (N, D)."""

    clips: Clips
    rows: np.ndarray
    vectors: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """(N,) classes."""
        return self.clips.manifest.label[self.rows]


@dataclass
class Enrolment:
    """A test of words that are enrolled from a few clips.

    Attributes:
        stem, facts, command, pairs: as in `Outcome`; facts with the lists ``enrolled`` and ``unknown`` of labels.
        results: of each method and number of clips.
        truth: (Q,) as in `models.enrolment.enrol.evaluate`.
        test: the Q clips.
        train: the P clips that some draw enrolled.
        drawn: (R, C, N) rows of these P.
        enrolled: (C,) classes.
    """

    stem: str
    results: list[Result]
    truth: np.ndarray
    test: Embedded
    train: Embedded
    drawn: np.ndarray
    enrolled: np.ndarray
    facts: dict
    command: str | None = None
    pairs: dict | None = None
