"""What both trainings do before their own work: the run, its arguments and configuration, its data, where it goes on.

One process at a time trains a run: it locks the run's folder until it ends, however it ends.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.base.errors import UserError, first_few
from data.base.files import lock
from models import parallel
from models.encoders.load import begin_with
from models.runs import session
from models.runs.checkpoints import TRAINER, Run, load_module, load_state, versions
from models.runs.options.training import best_precision, resolve_masks

if TYPE_CHECKING:  # torch takes seconds to import
    import torch
    from torch import nn

    from data.audio.dataset import Clips
    from data.augment import NoiseBank
    from data.manifests.corpus import Corpus
    from models.training.tasks import Task

# Arguments that a resumed run may change: they do not bear on what is learnt.
FREE = {"name", "runs_dir", "gpu", "registry", "cache_dir", "step_freq", "eval_freq", "checkpoints_to_keep",
        "eval_clips", "num_nodes", "compile", "graph", "resume", "classify_gpu", "cl", "eval", "save_emb", "given",
        "fits", "command"}
LENGTH = ("num_steps", "num_epochs")  # which it may change too, the schedule being stretched
# What must be as it was when a run was begun, by its name in the configuration.
UNCHANGED = {"labels": "labels of --manifest", "train_clips": "number of training clips",
             "train_manifest": "training clips or their labels", "noise": "noise recordings of --augment",
             "rooms": "room responses of --rooms", "encoder_sha256": "frozen encoder",
             "teacher_sha256": "model of the --teacher"}

_claimed: dict[tuple[int, int], int] = {}  # descriptors that hold the locks, by the folder's device and number


def take_up(args: Namespace, run: Run, script: str) -> dict:
    """Check that a run's name is free or, with --resume, take over the arguments it was begun with. A name is free,
    too, if its run never came to a checkpoint. Returns the configuration of a run to go on with; {} for a new one.
    Raises UserError if the name is taken, a flag contradicts the run, or another process trains it."""
    if parallel.leads() and run.folder.is_dir():
        claim(run.folder, run.flag)
    check_free(run, args.resume)
    config = run.config() if args.resume else {}
    if not config and not run.begun():
        return {}
    if config.get("script") != script:
        raise UserError(f"--resume: run {run.name!r} was begun by {config.get('script', 'another program')}; choose "
                        "another --name")
    before = config.get("arguments", {})
    damaged = [key for key in ("arguments", "labels", "train_clips", "train_manifest") if key not in config] or [
        f"--{flag}" for flag in vars(args) if flag not in FREE and not args.fits(flag, before.get(flag))]
    if damaged:
        raise UserError(f"--resume: {run.folder / 'config.json'} is damaged in {damaged[0]}; restore it, or choose "
                        "another --name")
    for flag, value in _plain(vars(args)).items():
        if flag in args.given and value != before.get(flag) and flag not in (*FREE, *LENGTH):
            raise UserError(f"--{flag} {value} contradicts run {run.name!r}, which was begun with {before.get(flag)}; "
                            f"leave --{flag} out, or choose another --name")
        if flag in before and flag not in FREE:
            setattr(args, flag, Path(before[flag]) if flag.endswith("_dir") and before[flag] else before[flag])
    if args.given.get("num_epochs", args.num_epochs) != args.num_epochs:
        args.num_steps = None  # counted anew, from the epochs
    for flag in LENGTH:
        setattr(args, flag, args.given.get(flag, getattr(args, flag)))
    return config


def go_on(run: Run, task, args: Namespace) -> None:
    """Load the newest complete checkpoint into a `models.training.tasks.Task`; nothing if there is none."""
    modules = task.saved_modules()
    steps = [step for step in run.steps(TRAINER) if all(run.path(name, step).exists() for name in modules)]
    if not steps:
        return
    if steps[-1] > task.steps:
        raise UserError(f"--num_steps {task.steps}: run {run.name!r} has done {steps[-1]} steps already; give more, or "
                        "test one of its earlier steps")
    path, way_out = run.path(TRAINER, steps[-1]), "remove it to go on from the one before"
    state = load_state(path, way_out)
    if type(state.get("step")) is not int or state["step"] != steps[-1] or not task.can_resume(state):
        raise UserError(f"{path}: not what a resume of step {steps[-1]} needs; {way_out}")
    for name, module in modules.items():
        load_module(run.path(name, steps[-1]), module, name)
    for name, module in task.beside().items():
        load_module(path, module, f"the {name}", name)
    task.resume(state)


def commit(run: Run, config: dict, before: dict, train: Clips, corpus: Corpus, parents: Sequence[Run]) -> None:
    """Take a new run's name and write its configuration, or check that a resumed run's data are what they were.

    It keeps a record of the clips of ``train``, and of what the ``parents`` learned from, whose encoder it begins with;
    and prints what makes a resumed run another than an uninterrupted one. Raises UserError if another process took the
    name since, or something in `UNCHANGED` or a recording changed.
    """
    for key, what in UNCHANGED.items():
        if before and before.get(key, config.get(key)) != config.get(key):
            raise UserError(f"--resume: the {what} changed since run {run.name!r} was begun; restore what it was, or "
                            "choose another --name")
    if parallel.rank():
        return
    from models.runs.provenance import keep_record

    claim(run.folder, run.flag)
    check_free(run, bool(before))
    keep_record(run, train, corpus, before, parents)
    if not before:
        run.write_config(config)
        return
    for key in ("processes", "threads"):
        if before.get(key, config[key]) != config[key]:
            print(f"run {run.name!r} was begun with {before[key]} {key} and goes on with {config[key]}: its weights "
                  "will not be those of an uninterrupted run")
    planned, steps = before["arguments"]["num_steps"], config["arguments"]["num_steps"]
    if steps != planned:
        print(f"{planned} steps were planned, {steps} are now: the learning rates are stretched over all of them")
        run.write_config(before | {"arguments": before["arguments"] | {
            flag: config["arguments"][flag] for flag in LENGTH}})


def check_free(run: Run, resumed: bool) -> None:
    """Raise UserError if a run that is not resumed would take the name of one that has come to a checkpoint."""
    if run.begun() and not resumed:
        raise UserError(f"{run.flag} {run.name}: {run.folder} exists; --resume it, or choose another name")


def claim(folder: Path, flag: str) -> None:
    """Make a run's folder, if it is not there, and lock it for this process; nothing where a drive has no locks. Raises
    UserError if another process has it, or it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.name == "nt":  # opens no folder
            return
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{folder}: this run's folder cannot be used ({error.strerror}); mend that, or choose another "
                        f"{flag} or --runs_dir") from error
    key = os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino
    if key not in _claimed and lock(descriptor) is not False:
        _claimed[key] = descriptor  # which keeps the lock, and the number
        return
    os.close(descriptor)
    if key not in _claimed:
        raise UserError(f"{flag} {folder.name}: another process is training {folder} right now; wait for it, or choose "
                        f"another {flag}")


def _plain(arguments: dict) -> dict:
    """Arguments as JSON has them."""
    return {flag: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
            for flag, value in arguments.items() if flag not in ("given", "fits", "filters", "command")}


@dataclass
class Prepared:
    """A training that can begin."""

    args: Namespace
    script: str
    run: Run
    before: dict  # the configuration of the run that is resumed; {} for a new one
    initial: tuple[Run, int, dict] | None  # run, step and configuration of the encoder that it begins with
    corpus: Corpus
    train: Clips
    dev: Clips
    new_words: Clips | None  # of words that the data set holds out, with --eval new_words
    noise: NoiseBank | None  # for --augment
    device: torch.device
    projects_anew: bool = False  # whether the encoder begins with another's convolutions, but no projection

    def encoder(self) -> nn.Module:
        """The encoder to train, seeded."""
        import torch

        from models.encoders.build import encoder_of

        torch.manual_seed(self.args.seed % 2**63)
        if not self.initial:
            return encoder_of(self.args)
        encoder, self.projects_anew = begin_with(self.args, *self.initial[:2])
        return encoder

    def plan(self, sampler) -> None:
        """Set the number of steps, in the sampler and in ``args``."""
        sampler.num_steps = self.args.num_steps = self.args.num_steps or self.args.num_epochs * sampler.epoch_steps

    def tell(self, what: str, task: Task, sampler) -> None:
        """Print what is trained on what, how far it is, and how long its steps and epochs are."""
        print(f"{what} on {self.args.manifest}: {len(self.train):,} train and {len(self.dev):,} dev clips of "
              f"{len(self.corpus.labels)} classes; {task.done} of {self.args.num_steps} steps done, "
              f"{sampler.batch_clips} clips a step, {sampler.epoch_steps} steps an epoch")

    def begin(self, task: Task, sampler, **more) -> None:
        """Take the run's name, write its configuration with ``more``, and set task and sampler to where it stands."""
        go_on(self.run, task, self.args)
        rooms = {"rooms": task.reverb.digest} if task.reverb and task.reverb.digest else {}
        commit(self.run, self._configuration(rooms | more), self.before, self.train, self.corpus,
               self.initial[:1] if self.initial else ())
        sampler.start = task.done

    def _configuration(self, more: dict) -> dict:
        """A run's configuration, for later scripts and readers."""
        import torch

        from models.encoders.frontend import settings
        from models.runs.provenance import fingerprint, trained_words

        args, optional = self.args, {"filters": self.args.filters, "noise": self.noise and self.noise.digest}
        if self.initial:
            run, step, config = self.initial
            optional |= {"init_from": str(run.path(args.model, step)), "labels_before": sorted(trained_words(config))}
        return {"script": self.script, "model": args.model, "hidden_size": args.hidden_size,
                "embedding_size": args.embedding_size, "clip_seconds": args.clip_seconds, **more,
                **{key: value for key, value in optional.items() if value}, "arguments": _plain(vars(args)),
                "train_clips": len(self.train), "train_manifest": fingerprint(self.corpus.splits["train"]),
                "labels": self.corpus.labels, "frontend": settings(args.compression), "versions": versions(),
                "threads": torch.get_num_threads(), "processes": parallel.size()}


def prepare(args: Namespace, script: str, run: Run, resolve: Callable[[Run, dict], tuple | None],
            check: Callable[[Corpus], None] = lambda corpus: None) -> Prepared:
    """Fill in the arguments and open the data, cheap checks before the libraries that take seconds to import.
    ``resolve`` fills in what is the script's own and gives ``initial`` of `Prepared`, from the run and the
    configuration to resume; ``check`` raises UserError for a data set that the script cannot take."""
    before = take_up(args, run, script)
    initial = resolve(run, before)
    session.resolve_sizes(args, before)
    parallel.join()
    with parallel.first():
        corpus = session.open_corpus(args, ("train", "dev"))
    resolve_masks(args, corpus.speech_commands)
    check(corpus)

    from models.encoders.device import pick_device
    from models.runs.provenance import known_words, tell_shared

    device = pick_device(args.gpu)
    args.precision = args.precision or best_precision(device)
    with parallel.first():
        train, dev = (session.open_clips(args, corpus, split) for split in ("train", "dev"))
        new_words = session.open_new_words(args, corpus) if getattr(args, "eval", None) == "new_words" else None
        for clips, what in ((dev, "dev"), (new_words, "new_words")):
            if clips is not None:
                tell_shared(train, clips, corpus, what, refuse=corpus.parts is not None)
    known = [] if new_words is None else known_words(new_words.manifest.labels, initial[2] if initial else before)
    if known and parallel.leads():
        print(f"warning: --init_from: {len(known):,} of the {len(new_words.manifest.labels):,} words held out as new "
              f"were in the training of that encoder ({first_few(known)}): they do not tell how it does on new words",
              file=sys.stderr)
    return Prepared(args, script, run, before, initial, corpus, train, dev, new_words,
                    session.open_noise(args, corpus), device)
