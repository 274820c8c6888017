"""The loop that trains a task: progress, evaluations, checkpoints and heads on them, and a stop to go on from."""

import errno
import logging
import math
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning_utilities.core import rank_zero
from tqdm import tqdm

from data.audio.dataset import Clips, ResidentClips, loader
from data.base.errors import Stopped, UserError, out_of_memory
from data.base.files import ROOT
from models import parallel
from models.encoders.device import full_float32, place
from models.runs.checkpoints import HEAD, TRAINER, Run, encoder_digest, not_finite
from models.runs.options.common import repeated
from models.teachers.lessons import Taught
from models.training.tasks import Task

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
LOG_STEPS = 10  # between readings of the device's figures, for which the host has to wait
POLL = 0.2  # seconds between checks for a signal while a head is trained


class Loop(Callback):
    """Progress, checkpoints, evaluations, and a clean stop at Ctrl-C or a signal, at the end of a step."""

    def __init__(self, run: Run, args: Namespace, steps: int, look: Callable[[], float], what: str = "dev",
                 saved: Callable[["Loop"], None] | None = None):
        self.run, self.args, self.steps, self.look, self.what, self.saved = run, args, steps, look, what, saved
        self.stopped_by: int | None = None
        self.dev: float | None = None
        self.begun = False  # from the first step on, when there is a bar

    def on_train_start(self, trainer, task) -> None:
        self.begun, self.bar = True, tqdm(
            total=self.steps, initial=task.done, desc=self.args.name, unit=" steps",
                        disable=True if parallel.rank() else None, dynamic_ncols=True)
        self.started, self.done_before = time.monotonic(), task.done
        self.began = self.started  # of the step under way
        task.train()  # lightning leaves the modules as they are
        for number in _handled():  # again: lightning has put handlers of its own around
            signal.signal(number, self._stop)

    @contextmanager
    def catching_signals(self) -> Iterator[None]:
        """A block in which a signal ends training after the step under way, or at once if none has begun."""
        before = {number: signal.signal(number, self._stop) for number in _handled()}
        try:
            yield
        finally:
            if self.begun:
                self.bar.close()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, _) -> None:
        signal.signal(number, signal.SIG_DFL)  # asked twice, it ends at once
        if not self.begun:
            raise Stopped(number)
        self.stopped_by = number

    def on_train_batch_start(self, trainer, task, batch, index) -> None:
        self.lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(self, trainer, task, outputs, batch, index) -> None:
        task.done += 1
        task.seconds += time.monotonic() - self.began
        stopping = parallel.total(self.stopped_by or 0) > 0  # all stop at the same step
        if stopping and self.stopped_by is None:
            self.stopped_by = signal.SIGTERM  # another process got it
        last = task.done == self.steps
        telling = task.done % LOG_STEPS == 0 or last
        saving = task.done % self.args.step_freq == 0 or last or stopping
        looking = (task.done % self.args.eval_freq == 0 or last) and not stopping
        if telling or saving or looking:  # in all processes, whose mean the figures are
            figures = {name: parallel.total(value.item()) / parallel.size()
                       for name, value in task.figures.items()} | {"lr": self.lr}
            self._check(task, figures, weights=saving or looking)
        if telling:
            trainer.logger.log_metrics(figures, task.done)
            self.bar.set_postfix_str(self._line(figures), refresh=False)
        self.bar.update()
        if saving and not parallel.rank():
            state = {"step": task.done, "optimizer": trainer.optimizers[0].state_dict(), "seconds": task.seconds}
            state |= {name: module.state_dict() for name, module in task.beside().items()}
            self.run.save(task.saved_modules(), state, task.done, self.args.checkpoints_to_keep)
        if looking:
            parallel.agree(task.saved_modules().values())
            self.dev = self.look()
            name = "dev_accuracy" if self.what == "dev" else self.what
            trainer.logger.log_metrics({name: self.dev, "seconds": task.seconds}, task.done)
            spent = time.monotonic() - self.started
            left = spent / (task.done - self.done_before) * (self.steps - task.done)
            tqdm.write(f"step {task.done}/{self.steps}  {self._line(figures)}  ({spent:.0f} s, {left:.0f} s to go)",
                       file=sys.stdout)  # one lasting line, also where no bar is shown
            sys.stdout.flush()
        if saving and not stopping and self.saved is not None and not parallel.rank():
            self.saved(self)
        trainer.should_stop |= stopping
        self.began = time.monotonic()

    def _check(self, task: Task, figures: dict[str, float], weights: bool) -> None:
        """Raise UserError, in all processes, if training diverged: nothing made from then on is worth saving."""
        bad = [f"{name} is {value}" for name, value in figures.items() if not math.isfinite(value)]
        if weights and not bad:
            bad = list(filter(None, (not_finite(module.state_dict()) for module in task.saved_modules().values())))
            if parallel.total(len(bad)) and not bad:
                bad = ["weights of another process"]
        if bad:
            raise UserError(f"training diverged by step {task.done} of {self.steps} ({bad[0]}); the last good "
                            f"checkpoint is of step {max(self.run.steps(TRAINER), default='none')}; train with a lower "
                            "--lr")

    def say_stopped(self, step: int) -> int:
        """Tell where a stopped run is saved. Returns the exit code."""
        print(f"stopped at step {step} of {self.steps}; saved {self.run.path(TRAINER, step)}; go on with the same "
              "command and --resume")
        return 128 + self.stopped_by

    def _line(self, figures: dict[str, float]) -> str:
        shown = [f"{name} {value:.2e}" if name == "lr" else f"{name} {value:.3f}" for name, value in figures.items()]
        return "  ".join(shown + ([] if self.dev is None else [f"{self.what} {100 * self.dev:.2f} %"]))


def fit(task: Task, run: Run, data, batches, device: torch.device, look: Callable[[], float],
        what: str = "dev", saved: Callable[[Loop], None] | None = None, taught: np.ndarray | None = None
        ) -> Loop:
    """Train ``task`` from step ``task.done`` on, on the batches that the sampler ``batches`` still has to give.

    ``data`` is indexed by a batch of positions, as `Clips` are. ``look`` measures on the dev set, or on what else
    decides: a share of 1, called ``what``. ``saved`` is called with the loop in the first process after each
    checkpoint, but that of a stop. ``taught`` is what a teacher says of the clips of ``data``, (N, T).

    Returns the loop, which knows whether a signal stopped it. Raises UserError for a batch of fewer clips than there
    are processes, a training that diverged, or memory or a disk that do not suffice.
    """
    task.batch_clips = batches.batch_clips
    if task.batch_clips < parallel.size():
        raise UserError(f"a batch of {task.batch_clips} clips cannot be shared by {parallel.size()} processes; start "
                        "fewer, or make it larger")
    rank_zero.log.setLevel(logging.WARNING)  # else: which kinds of device there are not, and that training ended
    place(task, device, task.args.precision)
    loop = Loop(run, task.args, task.steps, look, what, saved)
    if task.done >= task.steps:  # a finished run was resumed
        return loop
    with warnings.catch_warnings(), loop.catching_signals(), _in_a_line(run, task), full_float32():
        warnings.filterwarnings("ignore", message=".*(num_workers|does not have many workers|log_every_n_steps|"
                                                  "lr_scheduler.step|total_mem|TF32|isinstance).*")
        cuda, shared = device.type == "cuda", parallel.size() > 1
        trainer = lightning.Trainer(
            accelerator="gpu" if cuda else "cpu", devices=[device.index] if cuda and not shared else parallel.size(),
            strategy="ddp" if shared else "auto", sync_batchnorm=cuda and shared,  # torch can on GPUs only
            max_epochs=1, callbacks=[loop], logger=TensorBoardLogger(run.folder, name="tensorboard", version=""),
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            use_distributed_sampler=False, benchmark=cuda)  # shapes do not change: cuDNN may try its ways
        if isinstance(data, Clips):
            data = ResidentClips.if_they_fit(data, device)
        pin_memory = cuda and not isinstance(data, ResidentClips)
        if taught is not None:
            data = Taught(data, taught)
        trainer.fit(task, loader(data, parallel.Shared(batches), pin_memory))
    return loop


@contextmanager
def _in_a_line(run: Run, task: Task) -> Iterator[None]:
    """Raise the UserError, or one on memory or a disk, out of what libraries wrapped around it."""
    try:
        yield
    except Exception as error:
        cause = error
        while cause is not None:
            if isinstance(cause, UserError):
                raise cause from error
            if out_of_memory(cause):
                raise UserError(f"not enough memory for steps of {task.batch_clips:,} clips; take fewer by "
                                "--per_class, --batch_classes or --batch_size, or a smaller --clip_seconds") from error
            if isinstance(cause, OSError) and cause.errno in FULL:
                raise UserError(f"{run.folder}: cannot be written ({cause.strerror}); make room on that disk, and go "
                                "on by --resume") from error
            cause = cause.__cause__ or cause.__context__
        raise


def _handled() -> list[int]:
    """The signals that end training; SIGHUP not where nohup has it ignored, nor on Windows, which lacks it."""
    hang_up = getattr(signal, "SIGHUP", signal.SIGTERM)
    return [signal.SIGINT, signal.SIGTERM, *[hang_up] * (signal.getsignal(hang_up) != signal.SIG_IGN)]


def train_heads(args: Namespace, run: Run, stopped: Callable[[], bool]) -> None:
    """--cl: train the runs ``NAME_classifierSTEP`` of all checkpoints that have none yet; go on with those cut short.
    TripletClassifier.py does it in a process of its own, so that the encoder's training draws the same random numbers.
    If a signal came (``stopped``), the head under way saves and ends, and no other is begun. Raises UserError if a head
    could not be trained."""
    for step in run.steps(args.model):
        head = Run(args.runs_dir, f"{args.name}_classifier{step}", "--cl")
        config = head.config()
        if config.get("encoder_sha256") == encoder_digest(run.path(args.model, step)) and \
                config.get("arguments", {}).get("num_steps") in head.steps(HEAD):
            continue
        code, out = _run_classifier([f"--name={head.name}", f"--enc_name={args.name}", f"--enc_step={step}",
                          f"--manifest={args.manifest}", f"--model={args.model}", f"--seed={args.seed}",
                          f"--eval_clips={args.eval_clips}", "--resume", *repeated(args)], stopped)
        if stopped():
            return
        if code:
            raise UserError(f"--cl: no head of step {step} was trained ({out.strip().splitlines()[-1]}); go on by "
                            "--resume, with or without --cl")
        dev = re.findall(r"dev \d+\.\d+ %", out)
        tqdm.write(f"head of step {step}: {f'{dev[-1]}, ' if dev else ''}saved {head.path(HEAD, head.steps(HEAD)[-1])}",
                   file=sys.stdout)


def _run_classifier(flags: list[str], stopped: Callable[[], bool]) -> tuple[int, str]:
    """TripletClassifier.py's exit code and output. A signal to this process is passed on to it, once."""
    command = [sys.executable, str(ROOT / "TripletClassifier.py"), *flags]
    own = {name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC")}  # not torchrun's
    with subprocess.Popen(command, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          start_new_session=True) as process:  # Ctrl-C reaches it by this process alone
        terminated = False  # a second signal would end it without saving
        while True:
            try:
                out = process.communicate(timeout=POLL)[0]
                return process.returncode, out
            except subprocess.TimeoutExpired:
                if stopped() and not terminated:
                    process.terminate()
                    terminated = True
