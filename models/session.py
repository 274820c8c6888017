"""What the scripts do around their own work: open the data, load an encoder, begin or resume a run.

Cheap checks come before the libraries that take seconds to import.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import UserError
from data.manifests import ROOT, Corpus, load_corpus, registered
from models import parallel
from models.checkpoints import HEAD, TRAINER, Run, load_module, load_state

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from data.augment import NoiseBank
    from data.dataset import Clips, Shuffled
    from data.sampler import BalancedBatchSampler

RUNS = Path("runs")
CLIP_SECONDS = 1.0
WIDTH = 45
# Arguments that a resumed run may change: they do not bear on what is learnt.
FREE = {"name", "runs_dir", "gpu", "registry", "cache_dir", "step_freq", "eval_freq", "checkpoints_to_keep",
        "eval_clips", "num_nodes", "compile", "resume",
        "classify_gpu", "cl", "save_emb", "given"}


def hush_libraries() -> None:
    """Keep NeMo from printing about its telemetry, of which there is none. Call before importing it."""
    logging.getLogger("nv_one_logger").setLevel(logging.ERROR)


def check_fixed(flag: str, given, fixed, where: str) -> None:
    """Raise UserError if a flag was given and contradicts what a checkpoint fixes; ``where`` ends in a verb."""
    if given is not None and given != fixed:
        raise UserError(f"{flag} {given} contradicts {where} {fixed}; leave {flag} out, or name another run")


def open_corpus(args: Namespace, splits: Sequence[str]) -> Corpus:
    """The data set that --manifest names; the demo is synthesised if it is not there."""
    entry = registered(args.manifest, args.registry)
    folder = Path(args.registry).absolute().parent
    if args.manifest == "demo" and folder == ROOT and not (folder / entry["train"]).exists():
        from data.demo import make

        make()
    return load_corpus(args.manifest, splits, args.registry)


def words_to_enrol(args: Namespace, corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """The classes that --enroll and --unknown name, as `models.enrol.choose_words` gives them."""
    from models.enrol import check_clips, choose_words

    words = choose_words(corpus.labels, args.enroll, args.unknown, args.manifest)
    check_clips(corpus.splits["train"], corpus.splits["test"], *words, max(args.shots))
    return words


def open_clips(args: Namespace, corpus: Corpus, split: str) -> Clips:
    """The audio of one split, decoded on first use."""
    from data.dataset import Clips

    return Clips.of(corpus.splits[split], f"{corpus.name}-{split}", args.clip_seconds, args.cache_dir,
                    args.skip_bad_audio)


def open_noise(args: Namespace, corpus: Corpus) -> NoiseBank | None:
    """The noise recordings for --augment; None without it."""
    if not args.augment:
        return None
    folder = args.noise_dir or corpus.noise
    if folder is None:
        raise UserError(f"--augment: {corpus.name!r} has no noise recordings in {args.registry}; name a folder of "
                        "them with --noise_dir")
    from data.audio import SAMPLE_RATE
    from data.augment import NoiseBank

    return NoiseBank(folder, round(args.clip_seconds * SAMPLE_RATE), tuple(args.noise_snr))


def own_run(args: Namespace, name: str, flag: str = "--name") -> Run:
    """The run that a script writes to: ``--runs_dir/name``, or ``runs/name`` for a run this program did not make.

    A published encoder is a run without config.json; what is made with it is kept apart from it.
    """
    run = Run(args.runs_dir, name, flag)
    return Run(RUNS, name, flag) if run.checkpoints.exists() and not run.config() else run


def find_encoder(args: Namespace, run: Run, step: int) -> dict:
    """Fill in ``args.hidden_size`` and ``args.clip_seconds`` from the run and step of an encoder.

    Returns:
        the run's configuration ({} for a run without one, as the published encoders).

    Raises:
        UserError: a flag contradicts the configuration or the checkpoint.
    """
    config, where = run.config(), f"run {run.name!r}, which has"
    if "model" in config:
        check_fixed("--model", args.model, config["model"], where)
    if "clip_seconds" in config:
        check_fixed("--clip_seconds", args.clip_seconds, config["clip_seconds"], where)
    args.clip_seconds = config.get("clip_seconds", args.clip_seconds or CLIP_SECONDS)
    width = config.get("hidden_size") or _saved_width(run.path(args.model, step), args.model)
    check_fixed("--hidden_size", args.hidden_size, width, where)
    args.hidden_size = width
    return config


def find_head(args: Namespace) -> tuple[Run, int, dict]:
    """The run of --cl_name, the step of its head, and its configuration."""
    run = own_run(args, args.cl_name, "--cl_name")
    return run, run.step(HEAD, args.cl_step, "--cl_step"), run.config()


def encoder_of_head(args: Namespace, head: Run, head_step: int, config: dict) -> tuple[Run, int]:
    """The run and step of the encoder that a head was trained with.

    Raises:
        UserError: --name or --enc_step contradicts what the head's configuration says.
    """
    run = Run(args.runs_dir, args.name)
    if config.get("frozen_encoder", True):
        begun = config.get("arguments", {})
        where = f"the head of run {head.name!r}, which was trained on an encoder of"
        check_fixed("--name", args.name, begun.get("enc_name", args.name), where)
        step = run.step(args.model, begun.get("enc_step") if args.enc_step is None else args.enc_step, "--enc_step")
        check_fixed("--enc_step", step, begun.get("enc_step", step), where)
        return run, step
    if args.name == head.name:
        check_fixed("--enc_step", args.enc_step, head_step,
                    f"the head of run {head.name!r}, which was trained together with the encoder of step")
    else:
        print(f"the head of run {head.name!r} was trained together with an encoder of its own, which is tested "
              f"instead of run {args.name!r}'s")
    return head, head.step(args.model, head_step, "--cl_step")


def check_labels(args: Namespace, corpus: Corpus, config: dict, head: Run) -> None:
    """Raise UserError unless a data set's labels are those that a head was trained on."""
    trained = config.get("labels", corpus.labels)
    if trained != corpus.labels:
        other = sorted(set(trained) ^ set(corpus.labels))
        difference = f"(they differ in {', '.join(other[:5])})" if other else "in another order"
        raise UserError(f"--manifest {args.manifest} has {len(corpus.labels)} labels, the head of run {head.name!r} "
                        f"{len(trained)} {difference}; test it on the data it was trained on")


def classifier_batches(args: Namespace, train: Clips, corpus: Corpus) -> BalancedBatchSampler | Shuffled:
    """The batches of a classifier: clips at random, or class-balanced with --batch_classes."""
    from data.dataset import Shuffled
    from data.sampler import BalancedBatchSampler

    if args.batch_classes:
        return BalancedBatchSampler(train.manifest.label, corpus.labels, args.batch_classes, args.per_class,
                                    seed=args.seed)  # uniform draws
    return Shuffled(len(train), args.batch_size, args.seed)


def _saved_width(path: Path, model: str) -> int:
    """The embedding's size D, from the weights of a saved encoder."""
    weight = load_state(path).get("project.weight" if model == "Quartz" else "conv0.weight")
    if weight is None:
        raise UserError(f"{path}: not a checkpoint of {model}; check --model")
    return len(weight)


def load_encoder(args: Namespace, run: Run, step: int, config: dict) -> nn.Module:
    """The encoder that `find_encoder` found, on the CPU."""
    from models.classifier import make_encoder
    from models.frontend import SETTINGS

    if config.get("frontend", SETTINGS) != SETTINGS:
        raise UserError(f"{run.folder / 'config.json'}: trained with the front end {config['frontend']}, this version "
                        f"has {SETTINGS}; use the version it was trained with")
    return load_module(run.path(args.model, step), make_encoder(args.model, args.hidden_size), args.model)


def begin(args: Namespace, run: Run, script: str) -> dict:
    """Check that a run's name is free or, with --resume, take over the arguments it was begun with.

    Returns:
        the configuration of a run to go on with; {} for a new one.

    Raises:
        UserError: the name is taken, or a flag contradicts the run to resume.
    """
    config = run.config()
    taken = bool(config) or run.checkpoints.exists()
    if taken and not args.resume:
        raise UserError(f"--name {run.name}: {run.folder} exists; go on with it by --resume, or choose another name")
    if taken and config.get("script", script) != script:
        raise UserError(f"--resume: run {run.name!r} was begun by {config['script']}; choose another --name")
    if not config:
        if taken:
            raise UserError(f"--resume: {run.folder} has no config.json to go on from; choose another --name")
        return {}
    before = config.get("arguments")
    if not isinstance(before, dict):
        raise UserError(f"--resume: {run.folder / 'config.json'} does not say what the run was begun with; choose "
                        "another --name")
    if before.get("spec_augment") is True:  # a run begun when the masks had no name
        before = before | {"spec_augment": "full"}
    for flag, value in _plain(vars(args)).items():
        if flag in FREE or flag not in before:
            continue
        if flag in args.given and value != before[flag]:
            raise UserError(f"--{flag} {value} contradicts run {run.name!r}, which was begun with {before[flag]}; "
                            f"leave --{flag} out, or choose another --name")
        setattr(args, flag, Path(before[flag]) if flag.endswith("_dir") and before[flag] else before[flag])
    return config


def trainer_state(run: Run, modules: dict[str, nn.Module]) -> dict:
    """Load the newest complete checkpoint into ``modules``; {} when there is none."""
    steps = [step for step in run.steps(TRAINER) if all(run.path(name, step).exists() for name in modules)]
    if not steps:
        return {}
    state = load_state(run.path(TRAINER, steps[-1]))
    if not {"step", "optimizer"} <= set(state):
        raise UserError(f"{run.path(TRAINER, steps[-1])}: lacks what a resume needs; remove it to go on from the one "
                        "before")
    for name, module in modules.items():
        load_module(run.path(name, steps[-1]), module, name)
    return state


def describe(args: Namespace, script: str, corpus: Corpus, clips: int, **more) -> dict:
    """A run's configuration: what a later script needs to know, and what a reader wants to."""
    import torch

    from models.frontend import SETTINGS
    from models.report import versions

    return {"script": script, "model": args.model, "hidden_size": args.hidden_size, "clip_seconds": args.clip_seconds,
            **more, "arguments": _plain(vars(args)), "train_clips": clips, "labels": corpus.labels,
            "frontend": SETTINGS, "versions": versions(), "threads": torch.get_num_threads()}


def commit(run: Run, config: dict, before: dict) -> None:
    """Write a new run's configuration, or check that a resumed run's data are what they were.

    Raises:
        UserError: the labels or the number of training clips have changed.
    """
    if not before:
        if not parallel.rank():
            run.write_config(config)
        return
    for key, what in (("labels", "labels"), ("train_clips", "number of training clips")):
        if config[key] != before[key]:
            raise UserError(f"--resume: the {what} of --manifest {config['arguments']['manifest']} changed since run "
                            f"{run.name!r} was begun; restore the manifest, or choose another --name")


def _plain(arguments: dict) -> dict:
    """Arguments as JSON has them."""
    return {flag: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
            for flag, value in arguments.items() if flag != "given"}


