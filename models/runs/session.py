"""What the scripts do around their own work: open the data, find the run of an encoder or a head."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.base.errors import UserError
from data.base.files import ROOT, check_name
from data.manifests import corpus as corpora
from data.manifests.corpus import Corpus
from data.manifests.manifest import UNLABELLED, Manifest
from data.manifests.registry import read_registry, registered
from models.context import SHARED, context_seconds
from models.runs.checkpoints import Run, encoder_digest
from models.runs.options.training import NONE

if TYPE_CHECKING:
    from data.audio.dataset import Clips, Shuffled
    from data.augment import NoiseBank
    from data.sampler import BalancedBatchSampler

RUNS = Path("runs")
CLIP_SECONDS = 1.0
WIDTH = 45
QUARTZ_WIDTH = 128
FILTERS = {"10": 128, "35": 128}  # of Quartz's last block, by --manifest; of others 1024. The original's rule.


def resolve_sizes(args: Namespace, before: dict) -> None:
    """Fill in sizes, --parts, --compression, --clip_seconds and Quartz's filters where no flag and no checkpoint did;
    ``before`` is the configuration of a run to go on with, or {}. Raises UserError for a mode that the model does not
    have."""
    quartz = args.model == "Quartz"
    if quartz:
        check_fixed("--hidden_size", args.hidden_size, args.embedding_size or args.hidden_size,
                    "--embedding_size: both are the embedding's size of Quartz, which is")
        args.hidden_size = args.embedding_size or args.hidden_size or QUARTZ_WIDTH
    args.parts, args.compression = args.parts or 1, args.compression or "log"
    if args.model != "Res8" and (args.parts > 1 or args.compression == SHARED):
        raise UserError(f"--parts and --compression {SHARED} are modes of Res8, which {args.model} does not have")
    context = 2 * context_seconds(args.compression)
    args.clip_seconds = args.clip_seconds or CLIP_SECONDS + context
    if args.clip_seconds < context + 0.1:
        raise UserError(f"--clip_seconds {args.clip_seconds:g}: {context:g} s of it are context; take a longer one")
    args.hidden_size = args.hidden_size or WIDTH
    args.embedding_size = args.embedding_size or args.hidden_size
    known = getattr(args, "filters", None) or before.get("filters")  # of a checkpoint
    args.filters = (known or FILTERS.get(args.manifest, 1024)) if quartz else None


def check_fixed(flag: str, given, fixed, where: str) -> None:
    """Raise UserError if a flag was given and contradicts what a checkpoint fixes; ``where`` ends in a verb."""
    if given is not None and given != fixed:
        raise UserError(f"{flag} {given} contradicts {where} {fixed}; leave {flag} out, or name another run")


def open_corpus(args: Namespace, splits: Sequence[str]) -> Corpus:
    """The data set, or the sets joined by +, that --manifest names; the demo is synthesised if it is not there."""
    check_name("--manifest", args.manifest)  # files are named by it
    _make_demo(args)
    corpus = corpora.load_corpus(args.manifest, splits, args.registry)
    if corpus.parts is not None and getattr(args, "eval", None) != "new_words":  # there, they are refused
        for remark in corpora.trained_new_words(corpus, args.registry):
            print(f"warning: --manifest {args.manifest}: {remark}", file=sys.stderr)
    return corpus


def _make_demo(args: Namespace) -> None:
    """Synthesise the demo if --manifest names it and it is not there."""
    if "demo" in corpora.parts_of(args.manifest, args.registry) and Path(args.registry).absolute().parent == ROOT and \
            not (ROOT / registered("demo", args.registry)["train"]).exists():
        from data.demo.synthesis import make

        make()


def has_split(args: Namespace, split: str) -> bool:
    """Whether every set that --manifest names has this split's manifest."""
    _make_demo(args)
    entries, folder = read_registry(args.registry), Path(args.registry).absolute().parent
    paths = [entries.get(part, {}).get(split) for part in corpora.parts_of(args.manifest, args.registry)]
    return all(isinstance(path, str) and (folder / path).is_file() for path in paths)


def open_clips(args: Namespace, corpus: Corpus, split: str) -> Clips:
    """The audio of one split, decoded on first use."""
    return clips_of(args, corpus.splits[split], f"{corpus.name}-{split}")


def clips_of(args: Namespace, manifest: Manifest, name: str) -> Clips:
    """The audio of a manifest as the encoder of ``args`` hears it."""
    from data.audio.dataset import Clips

    return Clips.of(manifest, name, args.clip_seconds, args.cache_dir, args.skip_bad_audio, args.compression == SHARED)


def open_new_words(args: Namespace, corpus: Corpus) -> Clips:
    """The audio of the words that a data set holds out as new. Raises UserError without pairs of both kinds."""
    import numpy as np

    from data.sampler import spread

    clips = clips_of(args, corpora.new_words(corpus, args.registry), f"{corpus.name}-new_words")
    counts = np.bincount(clips.manifest.label[spread(clips.manifest.label, args.eval_clips)])
    if (counts > 0).sum() < 2 or counts.max() < 2:
        raise UserError(f"--manifest {args.manifest}: {counts.sum()} clips of {(counts > 0).sum()} words held out do "
                        "not tell pairs of one word from pairs of two; hold out more, or raise --eval_clips")
    return clips


def open_noise(args: Namespace, corpus: Corpus) -> NoiseBank | None:
    """The noise recordings for --augment; None without it."""
    if not args.augment:
        return None
    folder = args.noise_dir or corpus.noise
    if folder is None:
        raise UserError(f"--augment: {corpus.name!r} has no noise recordings in {args.registry}; name a folder of "
                        "them with --noise_dir")
    from data.audio.decoding import SAMPLE_RATE
    from data.augment import NoiseBank

    return NoiseBank(folder, round(args.clip_seconds * SAMPLE_RATE), tuple(args.noise_snr))


def own_run(args: Namespace, name: str, flag: str = "--name") -> Run:
    """The run that a script writes to: ``--runs_dir/name``, or ``runs/name`` for a published encoder, which is a run
    without config.json, or one whose config.json says that it is shipped with this project."""
    run = Run(args.runs_dir, name, flag)
    config = run.config() if run.checkpoints.exists() else {"shipped": False}
    return Run(RUNS, name, flag) if config.get("shipped", not config) else run


def encoder_of_head(args: Namespace, head: Run, head_step: int, config: dict) -> tuple[Run, int]:
    """The run and step of the encoder that a head was trained with; fills in ``args.clip_seconds`` from the head's run.
    Raises UserError for a flag that contradicts its configuration, or another encoder's file than it was trained on."""
    run = Run(args.runs_dir, args.name)
    if "clip_seconds" in config:
        check_fixed("--clip_seconds", args.clip_seconds, config["clip_seconds"],
                    f"the head of run {head.name!r}, which was trained on clips of")
        args.clip_seconds = config["clip_seconds"]
    if config.get("frozen_encoder", True):
        begun = config.get("arguments", {})
        where = f"the head of run {head.name!r}, which was trained on an encoder of"
        check_fixed("--name", args.name, begun.get("enc_name", args.name), where)
        step = run.step(args.model, begun.get("enc_step") if args.enc_step is None else args.enc_step, "--enc_step")
        check_fixed("--enc_step", step, begun.get("enc_step", step), where)
        path = run.path(args.model, step)
        if "encoder_sha256" in config and encoder_digest(path) != config["encoder_sha256"]:
            raise UserError(f"{path}: is another encoder than the one of this name that the head of run {head.name!r} "
                            "was trained on; restore that one, name its --runs_dir, or train the head again")
        return run, step
    if args.name == head.name:
        check_fixed("--enc_step", args.enc_step, head_step,
                    f"the head of run {head.name!r}, which was trained together with the encoder of step")
    else:
        print(f"the head of run {head.name!r} was trained together with an encoder of its own, which is tested "
              f"instead of run {args.name!r}'s")
    return head, head.step(args.model, head_step, "--cl_step")


def encoder_batches(args: Namespace, train: Clips, corpus: Corpus) -> BalancedBatchSampler | Shuffled:
    """The batches of an encoder: class-balanced, or clips at random for a teacher alone, which needs no classes."""
    from data.audio.dataset import Shuffled
    from data.sampler import BalancedBatchSampler

    if args.loss == NONE:
        return Shuffled(len(train), args.batch_classes * args.per_class, args.seed)
    if UNLABELLED in corpus.labels:
        raise UserError(f"--manifest {args.manifest}: its class {UNLABELLED} is of windows whose words are not known; "
                        "learn from them by --loss none and a --teacher")
    return BalancedBatchSampler(
        train.manifest.label, corpus.labels, args.batch_classes, args.per_class, args.data_probs, args.seed,
        tables=train.manifest.path.parent, groups=corpus.parts, shares=args.shares)
