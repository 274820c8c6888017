"""What is tested, and what a test found: the arguments of reports, files and pages."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import nn

    from data.audio.dataset import Clips
    from data.manifests.corpus import Corpus
    from data.manifests.manifest import Manifest
    from models.encoders.frontend import LogMel
    from models.enrolment.enrol import Result
    from models.runs.checkpoints import Run


@dataclass
class Subject:
    """An encoder to test and the data to test it on."""

    args: Namespace
    config: dict  # of the encoder's run
    encoder: nn.Module
    frontend: LogMel
    corpus: Corpus
    clips: dict[str, Clips]  # by split
    out: Path  # folder of the files
    name: str  # the ending of their names
    facts: dict  # what is known so far, for the JSON

    @classmethod
    def open(cls, args: Namespace, run: Run, step: int, config: dict, corpus: Corpus,
             clips: dict[str, Clips]) -> Subject:
        """The encoder of a run's step on its device; ``args`` as `models.encoders.load.find_encoder` left them."""
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
        """Embeddings (N, D) of a split's clips, or of those at ``rows``. Raises UserError if one has no length 1."""
        from models.encoders.build import embed_clips
        from models.neighbours import check_finite

        clips = self.clips[split] if rows is None else self.clips[split].subset(rows)
        vectors = embed_clips(self.encoder, self.frontend, clips, title=f"embedding {split}", normalise=normalise)
        if normalise:
            check_finite(vectors, split, clips.manifest)
        return vectors


@dataclass
class Outcome:
    """A test in which each of Q clips gets one class."""

    stem: str  # beginning of the files' names
    tested: Manifest
    predicted: np.ndarray  # (Q,) classes
    facts: dict  # what was tested and how
    command: str | None = None  # the one that makes this test again
    distances: np.ndarray | None = None  # (Q, k) squared distances of the nearest train clips, for a vote of neighbours
    scores: np.ndarray | None = None  # (Q,) probability of the predicted class, for a head
    pairs: dict | None = None  # the figures of `models.neighbours`
    by_k: dict[int, np.ndarray] | None = None  # (Q,) predictions by several numbers of neighbours


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
    """A test of words that are enrolled from a few clips; what is not described is as in `Outcome`."""

    stem: str
    results: list[Result]
    truth: np.ndarray  # (Q,) as in `models.enrolment.enrol.evaluate`
    test: Embedded  # Q clips
    train: Embedded  # the P clips that some draw enrolled
    drawn: np.ndarray  # (R, C, N) rows of these P
    enrolled: np.ndarray  # (C,) classes
    facts: dict  # with the lists ``enrolled`` and ``unknown`` of labels
    command: str | None = None
    pairs: dict | None = None
