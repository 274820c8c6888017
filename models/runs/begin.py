"""Begin a run, or go on with one: its arguments, its configuration, the state it was left in."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.base.errors import UserError
from data.base.files import misshapen
from models import parallel
from models.runs.checkpoints import TRAINER, Run, load_module, load_state
from models.runs.claim import claim
from models.runs.options.recipe import CHANCES, RECIPES

if TYPE_CHECKING:
    from data.augment import NoiseBank
    from data.dataset import Clips
    from data.manifests.corpus import Corpus

# Arguments that a resumed run may change: they do not bear on what is learnt.
FREE = {"name", "runs_dir", "gpu", "registry", "cache_dir", "step_freq", "eval_freq", "checkpoints_to_keep",
        "eval_clips", "num_nodes", "compile", "resume",
        "classify_gpu", "cl", "eval", "save_emb", "given", "fits", "usual", "command"}
LENGTH = ("num_steps", "num_epochs")  # which it may change too, the schedule being stretched
# What every configuration has had in its arguments, and never as null.
_ALWAYS = {"manifest", "model", "hidden_size", "clip_seconds", "seed", "precision", "num_steps",
           *RECIPES["paper"]} - {"speed", "per_class"}
_STATE = {"step": int, "optimizer": dict, "seconds": (int, float)}  # of a trainer's checkpoint


def begin(args: Namespace, run: Run, script: str) -> dict:
    """Check that a run's name is free or, with --resume, take over the arguments it was begun with.

    A name is free, too, if its run never came to a checkpoint and no process is at it.

    Returns:
        the configuration of a run to go on with; {} for a new one.

    Raises:
        UserError: the name is taken, a flag contradicts the run to resume, or another process is training it.
    """
    if parallel.leads() and run.folder.is_dir():
        claim(run.folder, run.flag)
    config = run.config() if args.resume or run.begun() else {}
    if run.begun() and not args.resume:
        raise UserError(_taken(run))
    if not config:
        if run.begun():
            raise UserError(f"--resume: {run.folder} has no config.json to go on from; choose another --name")
        return {}
    if config.get("script", script) != script:
        raise UserError(f"--resume: run {run.name!r} was begun by {config['script']}; choose another --name")
    path = run.folder / "config.json"
    for key in ("arguments", "labels", "train_clips"):
        if key not in config:
            raise UserError(f"--resume: {path} lacks {key!r}; restore it, or choose another --name")
    before = config["arguments"]
    if before.get("spec_augment") is None:  # begun when that was the name of no masks
        before = before | {"spec_augment": "off"}
    # Before there were these flags.
    before = {"loss": "triplet", "embedding_size": before.get("hidden_size"), "compression": "log",
              **CHANCES} | before
    for flag, value in _plain(vars(args)).items():
        if flag in FREE:
            continue
        if flag not in before and flag not in _ALWAYS:  # a flag that there was not
            if args.given.get(flag, False) not in (False, args.usual(flag)):
                raise UserError(f"--{flag}: run {run.name!r} was begun when there was no such flag, and goes on "
                                f"without; leave --{flag} out, or choose another --name")
            continue
        if flag not in before or (before[flag] is None and flag in _ALWAYS) or not args.fits(flag, before[flag]):
            raise UserError(f"--resume: {path} has {before.get(flag)!r} for --{flag}; restore it, or choose another "
                            "--name")
        if flag in args.given and value != before[flag] and flag not in LENGTH:
            raise UserError(f"--{flag} {value} contradicts run {run.name!r}, which was begun with {before[flag]}; "
                            f"leave --{flag} out, or choose another --name")
        setattr(args, flag, Path(before[flag]) if flag.endswith("_dir") and before[flag] else before[flag])
    if args.given.get("num_epochs", args.num_epochs) != args.num_epochs:
        args.num_steps = None  # counted anew, from the epochs
    for flag in LENGTH:
        setattr(args, flag, args.given.get(flag, getattr(args, flag)))
    return config


def go_on(run: Run, task, args: Namespace) -> None:
    """Load the newest complete checkpoint into a `models.training.tasks.Task`; nothing if there is none.

    Raises:
        UserError: a file of it is damaged, or the run is further than --num_steps.
    """
    modules = task.saved_modules()
    steps = [step for step in run.steps(TRAINER) if all(run.path(name, step).exists() for name in modules)]
    if not steps:
        return
    path = run.path(TRAINER, steps[-1])
    if steps[-1] > task.steps and any(flag in args.given for flag in LENGTH):
        raise UserError(f"--num_steps {task.steps}: run {run.name!r} has done {steps[-1]} steps already; give more, or "
                        "test one of its earlier steps")
    way_out = "remove it to go on from the one before"
    state = load_state(path, "what a resume needs", way_out)
    problem = misshapen(state, _STATE) or next((f"it lacks {key!r}" for key in ("step", "optimizer")
                                                if key not in state), None)
    if problem is None and not steps[-1] == state["step"] <= task.steps:
        problem = f"it is of step {state['step']}, in a run of {task.steps} steps"
    if problem is None and not 0 <= state.get("seconds", 0.0) < float("inf"):
        problem = "its seconds are no length of time"
    problem = problem or task.cannot_resume(state)
    if problem:
        raise UserError(f"{path}: not what a resume needs ({problem}); {way_out}")
    for name, module in modules.items():
        load_module(run.path(name, steps[-1]), module, name)
    if task.loss is not None:
        load_module(path, task.loss, "the loss", "loss")
    task.resume(state)


def describe(args: Namespace, script: str, corpus: Corpus, clips: int, *, frontend: dict,
             noise: NoiseBank | None = None, initial: tuple[Run, int, dict] | None = None, **more) -> dict:
    """A run's configuration: what a later script needs to know, and what a reader wants to.

    Args:
        noise: what clips are augmented with, kept by its digest.
        initial: the run and step of the encoder that it begins with, and that run's configuration.
    """
    import torch

    from models.runs.provenance import fingerprint, words_heard
    from models.runs.versions import versions

    return {"script": script, "model": args.model, "hidden_size": args.hidden_size,
            "embedding_size": args.embedding_size, **({"filters": args.filters} if args.filters else {}),
            "clip_seconds": args.clip_seconds, **more,
            **({"noise": noise.digest} if noise else {}),
            **({"init_from": str(initial[0].path(args.model, initial[1])),
                "labels_before": sorted(words_heard(initial[2]))} if initial else {}),
            "arguments": _plain(vars(args)), "train_clips": clips,
            "train_manifest": fingerprint(corpus.splits["train"]), "labels": corpus.labels,
            "frontend": frontend, "versions": versions(), "threads": torch.get_num_threads(),
            "processes": parallel.size()}


def commit(run: Run, config: dict, before: dict, train: Clips, corpus: Corpus, parents: Sequence[Run]) -> None:
    """Take a new run's name and write its configuration, or check that a resumed run's data are what they were.

    Args:
        train: the clips that it learns from, of which it keeps a record.
        parents: runs whose encoder it begins with: what they learned from is its own, too.

    Raises:
        UserError: another process took the name since `begin`; the labels, the number of training clips or the training
            manifest, recordings or noise or a head's frozen encoder have changed.
    """
    for key, what in (("labels", "labels"), ("train_clips", "number of training clips"),
                      ("train_manifest", "training clips or their labels")):
        if key in before and config[key] != before[key]:
            raise UserError(f"--resume: the {what} of --manifest {config['arguments']['manifest']} changed since run "
                            f"{run.name!r} was begun; restore the manifest, or choose another --name")
    if "noise" in before and config.get("noise") != before["noise"]:
        raise UserError(f"--resume: the noise recordings of --augment changed since run {run.name!r} was begun; "
                        "restore them, or choose another --name")
    if before.get("encoder_sha256", config.get("encoder_sha256")) != config.get("encoder_sha256"):
        raise UserError(f"--resume: the encoder that run {run.name!r} was begun on is another now, "
                        f"{config['init_from']}; restore it, or choose another --name")
    if parallel.rank():
        return
    import torch

    from models.runs.provenance import RECORD, Record

    claim(run.folder, run.flag)
    if not before and run.begun():
        raise UserError(_taken(run))
    record = Record.of(train, corpus)
    if before and (changed := record.unlike(Record.read(run))):
        raise UserError(f"--resume: {changed:,} of the {len(train):,} training clips of --manifest "
                        f"{config['arguments']['manifest']} sound otherwise than when run {run.name!r} was begun; "
                        "restore the recordings, or choose another --name; to go on all the same, remove "
                        f"{run.folder / RECORD}")
    for heard in (Record.read(other) for other in ([run] if before else parents)):
        record |= heard
    record.write(run)
    if not before:
        for path in (run.folder / "tensorboard").glob("events.out.tfevents.*"):
            path.unlink()  # of a run of that name that never took a step
        run.write_config(config)
        return
    bearing = {"processes": "draws"} | ({} if torch.cuda.is_available() else {"threads": "rounds sums"})
    for key, what in bearing.items():
        if key in before and config[key] != before[key]:
            print(f"run {run.name!r} was begun with {before[key]} {key} and goes on with {config[key]}, which {what} "
                  "otherwise: its weights will not be those of an uninterrupted run")
    planned, steps = before["arguments"]["num_steps"], config["arguments"]["num_steps"]
    if steps != planned:
        print(f"{planned} steps were planned, {steps} are now: the learning rates are stretched over all of them")
        done = (run.steps(TRAINER) or [0])[-1]
        run.write_config(before | {
            "arguments": before["arguments"] | {flag: config["arguments"][flag] for flag in LENGTH},
            "extended": [*before.get("extended", []), {"at_step": done, "from": planned, "to": steps}]})


def _taken(run: Run) -> str:
    return f"{run.flag} {run.name}: {run.folder} exists; go on with it by --resume, or choose another name"


def _plain(arguments: dict) -> dict:
    """Arguments as JSON has them."""
    return {flag: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
            for flag, value in arguments.items() if flag not in ("given", "fits", "usual", "filters", "command")}
