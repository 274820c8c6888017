"""The two training tasks: what a step computes, and how it is optimised."""

import sys
import warnings
from abc import ABC, abstractmethod
from argparse import Namespace

import lightning
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from data.audio.dataset import Clips, scale
from data.audio.decoding import SAMPLE_RATE
from data.augment import NoiseBank, Reverb, babble, band_limit, change_gain, change_speed, time_shift
from data.sampler import spread
from models import parallel
from models.encoders.build import ClassificationNet, embed, embed_clips, head_scores
from models.encoders.device import place
from models.encoders.frontend import HOP, MELS, LogMel
from models.losses import mining_draws, own_class, positive_pairs, triplet_loss
from models.neighbours import check_finite, classify, count_pairs, few_clips
from models.runs.checkpoints import HEAD, parts_of
from models.runs.options.training import NONE
from models.training.masks import MASKS, SpectrogramMasks, VocalTracts
from models.training.step import Compiled, RecordedStep, belongs, make_optimizer, make_schedule


class Task(lightning.LightningModule, ABC):
    """What both trainings share: waveforms to spectrograms with augmentation, optimiser, schedule. All that is random
    in a step follows from the seed and the step's number, so a resumed run draws what an uninterrupted one does.
    ``steps`` are those of the whole run, ``noise`` the recordings for ``args.augment``."""

    def __init__(self, encoder: nn.Module, args: Namespace, steps: int, noise: NoiseBank | None):
        super().__init__()
        self.encoder, self.args, self.steps = encoder, args, steps
        self.loss: nn.Module | None = None  # what is learnt beside the encoder and is no part of it
        self.distillation: nn.Module | None = None  # where a teacher's space is in the encoder's
        # In a tuple, since it is no further module: its weights are the encoder's.
        self.trained = (Compiled(encoder) if args.compile else encoder,)
        self.recorded: RecordedStep | None = None  # with --graph, in place of `learn`
        self.done = 0
        self.seconds = 0.0  # that the steps done took, without evaluations and saving
        self.batch_clips = 0  # in a step, over all processes; `fit` sets it
        self.optimizer_state: dict | None = None  # of the checkpoint a run is resumed from
        self.frontend = LogMel(args.compression)
        self.noise = noise
        self.reverb = Reverb(round(args.clip_seconds * SAMPLE_RATE), args.reverb, args.seed,
                             args.rooms, args.rt60) if args.reverb else None
        self.vocal_tracts = VocalTracts(self.frontend.filters, args.vtlp) if args.vtlp else None
        self.masks = SpectrogramMasks(**MASKS[args.spec_augment]) if args.spec_augment in MASKS else None
        self.figures: dict[str, torch.Tensor] = {}  # of the last step, by name

    def saved_modules(self) -> dict[str, nn.Module]:
        """What a checkpoint holds, by the name its file gets."""
        return {part: self.encoder.get_submodule(name) for part, name in parts_of(self.args.model).items()}

    def beside(self) -> dict[str, nn.Module]:
        """What a checkpoint holds beside the modules and the optimiser, by name."""
        return {name: module for name, module in (("loss", self.loss), ("teacher", self.distillation)) if module}

    def can_resume(self, state: dict) -> bool:
        """Whether `resume` can take a state: it has what `Loop` saved of an optimiser of these weights."""
        seconds = state.get("seconds")
        return isinstance(seconds, int | float) and 0 <= seconds < float("inf") \
            and belongs(state.get("optimizer"), self.args, self.learning())

    def resume(self, state: dict) -> None:
        """Go on from what `Loop` saved. Call before `fit`, with the modules loaded."""
        self.done, self.optimizer_state, self.seconds = state["step"], state["optimizer"], state["seconds"]

    @abstractmethod
    def prepare(self, batch) -> tuple[torch.Tensor, ...]:
        """What `learn` takes of a batch, on the device: all that is random in a step is drawn here, but the dither,
        which the device's own generator draws from the step's seed."""

    @abstractmethod
    def learn(self, *prepared: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """A step's loss and its figures, for which nothing waits for the device."""

    def training_step(self, batch, _) -> torch.Tensor:
        loss, self.figures = (self.recorded or self.learn)(*self.prepare(batch))
        return loss

    def backward(self, loss: torch.Tensor) -> None:
        """Lightning's; a recorded step has done it, and the update, already."""
        if self.recorded is None:
            super().backward(loss)

    def optimizer_step(self, epoch: int, index: int, optimizer, closure=None) -> None:
        """Lightning's; ``closure`` does `training_step` and `backward`."""
        if self.recorded is None:
            super().optimizer_step(epoch, index, optimizer, closure)
        else:
            closure()

    def obstacle(self) -> str | None:
        """Why a step cannot be recorded."""
        if self.device.type != "cuda":
            return "there is no GPU here"
        return "several processes train together" if parallel.size() > 1 else None

    def learning(self) -> list:
        """The weights that training changes, or groups of them, as the optimiser gets them."""
        return [p for p in self.parameters() if p.requires_grad]

    def embed(self, clips: Clips, rows: np.ndarray | None = None, title: str | None = None) -> np.ndarray:
        """Normalised embeddings (N, D) of all clips, or of those at ``rows``; the processes share the work."""
        rows = np.arange(len(clips)) if rows is None else rows
        own = embed_clips(self.encoder, self.frontend, clips, parallel.share(rows), title)
        return parallel.gather(torch.from_numpy(own), len(rows)).numpy()

    def sound(self, waveforms: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
              ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, S) int16 of classes (B,) augmented, in the order in which sound meets it: the speaker, the room, what
        else is heard in it, the microphone, the recorder; and what `spectrograms` takes besides, drawn for them. What
        is off draws nothing."""
        x = scale(waveforms)
        if self.args.speed:
            x = change_speed(x, generator)
        if self.args.shift:
            x = time_shift(x, generator)
        if self.reverb is not None:
            x = self.reverb(x, generator)
        if self.args.babble:
            x = babble(x, labels, generator, self.args.babble_snr, self.args.babble)
        if self.noise is not None:
            x = self.noise(x, generator)
        if self.args.band_limit:
            x = band_limit(x, generator, self.args.band_limit)
        if self.args.gain:
            x = change_gain(x, generator, self.args.gain_db, self.args.gain)
        filters = self.frontend.filters if self.vocal_tracts is None else self.vocal_tracts(len(x), generator)
        spans = torch.empty(0, device=x.device) if self.masks is None else \
            self.masks.draw(len(x), MELS, -(-x.shape[1] // HOP), generator, x.device)
        return x, filters, spans

    def spectrograms(self, waveforms: torch.Tensor, filters: torch.Tensor, spans: torch.Tensor) -> torch.Tensor:
        """Augmented waveforms (B, S) to masked log-mel (B, F, T), by mel filters and where masks begin and end."""
        x = self.frontend(waveforms, filters=filters if filters.ndim == 3 else None)
        return x if self.masks is None else self.masks(x, spans)

    def encode(self, spectrograms: torch.Tensor, normalise: bool) -> torch.Tensor:
        """(B, F, T) to embeddings (B, D) in float32, the encoder in the precision asked for."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.args.precision == "bf16"):
            encoder, = self.trained if self.encoder.training else (self.encoder,)
            return embed(encoder, spectrograms) if normalise else encoder(spectrograms).float()

    def step_generators(self) -> tuple[torch.Generator, torch.Generator]:
        """Randomness of this step, on the CPU: for the clips, and for mining, which is the same in all processes. Also
        seeds the global generator, from which the front end draws its dither."""
        own, shared = (step_seed(self.args.seed, self.done, rank) for rank in (parallel.rank(), 0))
        torch.manual_seed(own)
        return torch.Generator().manual_seed(own), torch.Generator().manual_seed(shared)

    def configure_optimizers(self):
        """Optimiser and schedule; the schedule ends at ``lr_end`` with the run's last step."""
        optimizer = make_optimizer(self.args, self.learning())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # stepping the schedule to where a resumed run was
            schedule = make_schedule(self.args, optimizer, self.steps)
            for _ in range(self.done):
                schedule.step()
        if self.optimizer_state is not None:
            # Rates follow from the step and the run's length, which may have grown since they were saved.
            settings = [{name: value for name, value in group.items() if name != "params"}
                        for group in optimizer.param_groups]
            for group in self.optimizer_state["param_groups"]:
                # True after --graph; then torch would keep AdamW's count of steps on the GPU, and wait for it.
                group |= {"capturable": False} if "capturable" in group else {}
            optimizer.load_state_dict(self.optimizer_state)
            for group, values in zip(optimizer.param_groups, settings, strict=True):
                group.update(values)
        if self.args.graph and (obstacle := self.obstacle()):
            print(f"--graph: {obstacle}; steps run one kernel at a time", file=sys.stderr)
        elif self.args.graph:
            self.recorded = RecordedStep(self.learn, optimizer, self.device)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def step_seed(seed: int, step: int, rank: int) -> int:
    """What a step's generators begin from, 0 to 2^32 - 1: torch's on a CPU keep no more of a seed. With seed 0 in the
    first process it is the step's number: the published runs of seed 0 came out so."""
    if seed == rank == 0:
        return step % 2**32
    return int(np.random.SeedSequence(seed, spawn_key=(step, rank)).generate_state(1)[0])


class TripletTask(Task):
    """Train an encoder with the triplet loss, or with ``loss``, on batches of ``per_class`` clips a class, side by
    side; and, or only, to do as a teacher does, if a `Distillation` tells how far it is from that."""

    def __init__(self, encoder: nn.Module, args: Namespace, steps: int, noise: NoiseBank | None = None,
                 loss: nn.Module | None = None, distillation: nn.Module | None = None):
        super().__init__(encoder, args, steps, noise)
        self.loss, self.distillation = loss, distillation
        self.mines = loss is None and (distillation is None or args.loss != NONE)  # triplets
        self.groups, self.pairs, self.own = None, None, None  # of the last batch, as `triplet_loss` takes them
        self.warned = False  # of classes with fewer clips than vote

    def prepare(self, batch) -> tuple[torch.Tensor, ...]:
        """What `sound` makes, classes (B,), what mining draws (P,), and a teacher's embeddings (B, T)."""
        waveforms, labels, *taught = batch
        for_clips, for_mining = self.step_generators()
        clips = self.batch_clips or len(waveforms)  # of all processes
        if self.mines and (self.args.data_probs or self.groups is None or len(self.groups) != clips):
            # Uniform draws give every batch the same layout, so pairs and masks are found once. Others repeat classes.
            groups = parallel.gather(labels, clips) if self.args.data_probs else \
                torch.arange(clips) // self.args.per_class
            self.groups, self.pairs, self.own = (
                x.to(self.device) for x in (groups, positive_pairs(groups), own_class(groups)))
        draw = mining_draws(len(self.pairs), for_mining, self.device) if self.mines else \
            torch.empty(0, device=self.device)
        return *self.sound(waveforms, labels, for_clips), labels, draw, *taught

    def learn(self, waveforms: torch.Tensor, filters: torch.Tensor, spans: torch.Tensor, labels: torch.Tensor,
              draw: torch.Tensor, *taught: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        embeddings = self.encode(self.spectrograms(waveforms, filters, spans), normalise=True)
        embeddings = parallel.gather(embeddings, self.batch_clips or len(embeddings))  # (B, D) of all processes
        if self.distillation is None:
            return self.by_labels(embeddings, labels, draw)
        loss, figures = self.distillation(embeddings, parallel.gather(taught[0], len(embeddings)))
        if self.args.loss == NONE:
            return loss, {"loss": loss.detach()} | figures
        by_labels, of_labels = self.by_labels(embeddings, labels, draw)
        return by_labels + self.args.teacher_weight * loss, of_labels | figures

    def by_labels(self, embeddings: torch.Tensor, labels: torch.Tensor, draw: torch.Tensor
                  ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss of all processes' embeddings (B, D), and its figures; ``labels`` are this process's."""
        if self.loss is not None:
            return self.loss(embeddings, parallel.gather(labels, len(embeddings)))
        return triplet_loss(embeddings, self.groups, self.args.margin, self.args.mining, draw, self.pairs, self.own)

    def obstacle(self) -> str | None:
        varying = "batches drawn by --data_probs differ in their pairs"
        return super().obstacle() or (varying if self.mines and self.args.data_probs else None)

    def learning(self) -> list:
        """What a loss learns has a learning rate of its own, and no weight decay."""
        if self.loss is None or not (own := list(self.loss.parameters())):
            return super().learning()
        return [{"params": list(self.encoder.parameters())},
                {"params": own, "lr": self.args.loss_lr, "weight_decay": 0.0}]

    def auroc(self, new_words: Clips) -> float:
        """How well distances tell pairs of one word from pairs of two, of words that are not trained on."""
        rows = spread(new_words.manifest.label, self.args.eval_clips)
        embedded = self.embed(new_words, rows, "new words")
        check_finite(embedded, "new words", new_words.manifest.subset(rows))
        return count_pairs(embedded, new_words.manifest.label[rows]).figures()["auroc"]

    def agreement(self, dev: Clips, taught: np.ndarray) -> float:
        """Mean cosine of the dev clips' embeddings and the teacher's (N, T)."""
        rows = np.linspace(0, len(dev) - 1, min(len(dev), self.args.eval_clips)).astype(np.int64)
        targets = self.distillation.targets(torch.from_numpy(taught[rows]).to(self.device)).cpu().numpy()
        return float((self.embed(dev, rows, "dev") * targets).sum(1).mean())

    def accuracy(self, train: Clips, dev: Clips, where: torch.device | None = None) -> float:
        """Share of dev clips that their nearest training clips classify rightly; ``where`` as in `knn_search`."""
        known, asked = (spread(clips.manifest.label, self.args.eval_clips) for clips in (train, dev))
        own, k, labels = parallel.share(asked), min(self.args.k, len(known)), train.manifest.labels
        few = few_clips(np.bincount(train.manifest.label[known], minlength=len(labels)), labels, k)
        if few and not (self.warned or parallel.rank()):
            print(f"evaluations on dev: {few}")
        self.warned = True
        voted = classify(self.embed(train, known, "train"), train.manifest.label[known],
                         embed_clips(self.encoder, self.frontend, dev, own, "dev"), k, where, self.args.ties)
        return parallel.total(np.sum(voted.labels == dev.manifest.label[own])) / len(asked)


class ClassifierTask(Task):
    """Train a head with cross-entropy, on a frozen encoder or together with it. A frozen encoder stays in evaluation
    mode, and its embeddings are normalised, as the original's head had them. Trained together, the head sees them as
    they are."""

    def __init__(self, encoder: nn.Module, head: ClassificationNet, args: Namespace, steps: int,
                 noise: NoiseBank | None = None, frozen: bool = True):
        super().__init__(encoder, args, steps, noise)
        self.head, self.frozen = head, frozen
        encoder.requires_grad_(not frozen)

    def saved_modules(self) -> dict[str, nn.Module]:
        return ({} if self.frozen else super().saved_modules()) | {HEAD: self.head}

    def train(self, mode: bool = True):
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def prepare(self, batch) -> tuple[torch.Tensor, ...]:
        """Classes (B,), and embeddings (B, D) that were computed once, or what `sound` makes."""
        inputs, labels = batch
        for_clips, _ = self.step_generators()
        return labels, *((inputs,) if inputs.is_floating_point() else self.sound(inputs, labels, for_clips))

    def learn(self, labels: torch.Tensor, inputs: torch.Tensor, *drawn: torch.Tensor
              ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        if drawn:
            with torch.set_grad_enabled(not self.frozen):
                inputs = self.encode(self.spectrograms(inputs, *drawn), normalise=self.frozen)
        scores = self.head(inputs)
        # Gradients are averaged over the processes, whose shares of the batch may differ by a clip.
        weight = parallel.size() * len(labels) / (self.batch_clips or len(labels))
        loss = functional.nll_loss(scores, labels) * weight
        return loss, {"loss": loss.detach(), "batch_accuracy": (scores.argmax(1) == labels).float().mean() * weight}

    def accuracy(self, dev: Clips) -> float:
        """Share of dev clips that the head classifies rightly."""
        asked = spread(dev.manifest.label, self.args.eval_clips)
        own = parallel.share(asked)
        embeddings = embed_clips(self.encoder, self.frontend, dev, own, "dev", normalise=self.frozen)
        right = head_scores(self.head, embeddings).argmax(1) == dev.manifest.label[own]
        return parallel.total(np.sum(right)) / len(asked)

    def embedded_once(self, train: Clips, device: torch.device) -> torch.utils.data.TensorDataset:
        """The training embeddings and classes, for a frozen encoder whose input nothing random changes."""
        place(self, device)
        return torch.utils.data.TensorDataset(torch.from_numpy(self.embed(train, title="embedding train")),
                                              torch.from_numpy(train.manifest.label.astype(np.int64)))
