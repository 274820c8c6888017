"""What both trainings do before their own work: the run and its arguments, its data, and where it goes on."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.base.errors import first_few
from models import parallel
from models.encoders.load import begin_with
from models.runs import begin, session
from models.runs.checkpoints import Run
from models.runs.options.recipe import best_precision, resolve_masks

if TYPE_CHECKING:
    import torch
    from torch import nn

    from data.augment import NoiseBank
    from data.dataset import Clips
    from data.manifests.corpus import Corpus
    from models.training.tasks import Task


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
        from models.encoders.frontend import settings

        begin.go_on(self.run, task, self.args)
        config = begin.describe(self.args, self.script, self.corpus, len(self.train), noise=self.noise,
                                frontend=settings(self.args.compression), initial=self.initial,
                                **({"rooms": task.reverb.digest} if task.reverb and task.reverb.digest else {}), **more)
        begin.commit(self.run, config, self.before, self.train, self.corpus, self.initial[:1] if self.initial else ())
        sampler.start = task.done


def prepare(args: Namespace, script: str, run: Run, resolve: Callable[[Run, dict], tuple | None],
            check: Callable[[Corpus], None] = lambda corpus: None) -> Prepared:
    """Fill in the arguments and open the data, cheap checks before the libraries that take seconds to import.
    ``resolve`` fills in what is the script's own and gives ``initial`` of `Prepared`, from the run and the
    configuration to resume; ``check`` raises UserError for a data set that the script cannot take."""
    before = begin.begin(args, run, script)
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
