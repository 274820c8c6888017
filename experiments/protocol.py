"""How an encoder is tested on words that it never heard: which words are enrolled, from how many clips, how often."""

import hashlib
import json
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from data.base.errors import UserError
from data.manifests import Corpus

SHOTS, REPEATS = (1, 5, 10), 30
FLAGS = ("shots_manifest", "shots", "repeats", "enroll", "unknown", "cohort")  # of experiments.compare


@dataclass(frozen=True)
class Protocol:
    """A test by ``infer_train.py --shots``.

    Attributes:
        manifest: the data set that has the words.
        enroll: the labels to enrol.
        unknown: the labels to reject; () for none.
        shots: numbers of clips to enrol of each.
        repeats: random draws of them, the same for all encoders.
        cohort: the data set whose training clips scores are normalised by; None for the encoder's own.
        content: hash of the set's train and test manifests, and of the cohort's clips.
    """

    manifest: str
    enroll: tuple[str, ...]
    unknown: tuple[str, ...]
    shots: tuple[int, ...]
    repeats: int
    cohort: str | None
    content: str

    @property
    def name(self) -> str:
        """The set's, and a hash of all the rest: results of two protocols are never taken for one another's."""
        return f"{self.manifest}-{hashlib.sha1(json.dumps(self.to_dict()).encode()).hexdigest()[:8]}"

    @property
    def flags(self) -> list[str]:
        """Those of infer_train.py, but for its ``--manifest``."""
        return ["--shots", *map(str, self.shots), f"--repeats={self.repeats}", "--enroll", *self.enroll,
                *(["--unknown", *self.unknown] if self.unknown else []),
                *([f"--cohort={self.cohort}"] if self.cohort else [])]

    @property
    def stem(self) -> str:
        """How the names of the files begin that infer_train.py writes."""
        return f"shots-unknown-{self.manifest}" if self.unknown else f"shots-{self.manifest}"

    def to_dict(self) -> dict:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def from_dict(values: dict) -> Protocol:
    return Protocol(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def protocol_of(args: Namespace, trained: Corpus) -> Protocol | None:
    """What the flags of `experiments.compare` ask for, checked before anything is trained; None without ``shots``.

    Args:
        trained: what the encoders learn from.

    Raises:
        UserError: words that the set lacks or has too few clips of, that the encoders are trained on, or a cohort that
            will not do.
    """
    if "shots" not in args.methods:
        return None
    from data.joined import load
    from data.labels import folded
    from models.enrolment import cohort
    from models.enrolment.enrol import check_clips, choose_words

    corpus = load(args.shots_manifest, ("train", "test"), args.registry)
    chosen = choose_words(corpus.labels, args.enroll, args.unknown, args.shots_manifest)
    check_clips(corpus.splits["train"], corpus.splits["test"], *chosen, max(args.shots))
    enroll, unknown = (tuple(corpus.labels[c] for c in classes) for classes in chosen)
    for where, labels in _heard(args, trained):
        heard = {folded(label) for label in labels}
        if known := [label for label in enroll if folded(label) in heard]:
            raise UserError(f"--enroll: the encoders hear {_named(known)} in the training of {where}, and these "
                            "figures are about words they never heard; enrol others, or train on others")
    hashed = [_content(corpus)]
    if args.cohort:
        manifest = cohort.choose(load(args.cohort, ("train",), args.registry), enroll + unknown)
        hashed.append(_content(Corpus(args.cohort, manifest.labels, {"train": manifest}, None)))
    return Protocol(args.shots_manifest, enroll, unknown, tuple(args.shots), args.repeats, args.cohort,
                    hashlib.sha1("".join(hashed).encode()).hexdigest())


def _heard(args: Namespace, trained: Corpus) -> Iterator[tuple[str, Sequence[str]]]:
    """What the encoders are trained on, and with which labels: the data set, and what --extra begins them with."""
    from models.encoders.load import initial_checkpoint
    from models.runs.provenance import words_heard

    yield f"--manifest {args.manifest}", trained.labels
    for name, _, source in (flag.lstrip("-").partition("=") for flag in args.extra):
        if name == "init_from":
            yield f"--extra init_from={source}", words_heard(initial_checkpoint(source, args.runs_dir)[0].config())


def _content(corpus: Corpus) -> str:
    from experiments.belongs import content_of

    return content_of(corpus.splits)


def _named(words: Sequence[str]) -> str:
    return ", ".join(words[:5]) + (f" and {len(words) - 5} more" if len(words) > 5 else "")
