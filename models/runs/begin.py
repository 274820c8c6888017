"""Begin a run, or go on with one: its arguments, its configuration, the state it was left in."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from data.base.errors import UserError
from data.manifests import Corpus
from models import parallel
from models.runs.checkpoints import TRAINER, Run, load_module, load_state

if TYPE_CHECKING:
    from torch import nn

# Arguments that a resumed run may change: they do not bear on what is learnt.
FREE = {"name", "runs_dir", "gpu", "registry", "cache_dir", "step_freq", "eval_freq", "checkpoints_to_keep",
        "eval_clips", "num_nodes", "compile", "resume",
        "classify_gpu", "cl", "save_emb", "given"}


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
    before = {"loss": "triplet", "embedding_size": before.get("hidden_size")} | before  # before there were these flags
    for flag, value in _plain(vars(args)).items():
        if flag in FREE or flag not in before:
            continue
        if flag in args.given and value != before[flag]:
            raise UserError(f"--{flag} {value} contradicts run {run.name!r}, which was begun with {before[flag]}; "
                            f"leave --{flag} out, or choose another --name")
        setattr(args, flag, Path(before[flag]) if flag.endswith("_dir") and before[flag] else before[flag])
    return config


def trainer_state(run: Run, modules: dict[str, nn.Module], loss: nn.Module | None = None) -> dict:
    """Load the newest complete checkpoint into ``modules`` and ``loss``; {} when there is none."""
    steps = [step for step in run.steps(TRAINER) if all(run.path(name, step).exists() for name in modules)]
    if not steps:
        return {}
    state = load_state(run.path(TRAINER, steps[-1]))
    if not {"step", "optimizer"} <= set(state):
        raise UserError(f"{run.path(TRAINER, steps[-1])}: lacks what a resume needs; remove it to go on from the one "
                        "before")
    for name, module in modules.items():
        load_module(run.path(name, steps[-1]), module, name)
    if loss is not None:
        load_module(run.path(TRAINER, steps[-1]), loss, "the loss", "loss")
    return state


def describe(args: Namespace, script: str, corpus: Corpus, clips: int, *, frontend: dict, **more) -> dict:
    """A run's configuration: what a later script needs to know, and what a reader wants to."""
    import torch

    from models.runs.versions import versions

    return {"script": script, "model": args.model, "hidden_size": args.hidden_size,
            "embedding_size": args.embedding_size, "clip_seconds": args.clip_seconds, **more,
            "arguments": _plain(vars(args)), "train_clips": clips, "labels": corpus.labels, "frontend": frontend,
            "versions": versions(), "threads": torch.get_num_threads()}


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
