"""Optimiser and schedule against the original's figures, what the two tasks promise, and the process of a head."""

import errno
import itertools
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nemo.core.optim.novograd import Novograd
from torch.utils._python_dispatch import TorchDispatchMode

from data.audio.dataset import Clips, ResidentClips
from data.augment import NoiseBank
from data.base.errors import UserError
from data.manifests.corpus import load_corpus
from data.sampler import BalancedBatchSampler
from models.encoders.build import ClassificationNet, embed, head_scores, make_encoder
from models.losses import triplet_loss
from models.runs.checkpoints import Run
from models.runs.options.training import CHANCES, RECIPES
from models.training import loop
from models.training import tasks as training
from models.training.step import NovoGrad, make_optimizer, make_schedule

SCRIPT = """
import os, pathlib, signal, sys, time

def end(number, frame):
    signal.signal(number, signal.SIG_DFL)
    time.sleep(1)
    print("saved")
    sys.exit(143)

signal.signal(signal.SIGTERM, end)
print(sys.argv[1:], [name for name in os.environ if "TORCHELASTIC" in name])
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


def arguments(**changes):
    values = RECIPES["paper"] | {"model": "Res8", "precision": "32", "compile": False, "graph": False,
                                 "spec_augment": None, "augment": False, "seed": 0, "margin": 0.5, "mining": "random",
                                 "per_class": 3, "data_probs": 0, "eval_clips": 100, "k": 3, "clip_seconds": 1.0,
                                 "babble_snr": (5.0, 20.0), "gain_db": (-20.0, 10.0), "compression": "log",
                                 "rooms": None, "rt60": (0.1, 0.6)} | changes
    return SimpleNamespace(**values)


def test_novograd_is_the_originals(golden):
    weights = [torch.nn.Parameter(torch.from_numpy(golden[f"novograd_p{i}"].copy())) for i in (0, 1)]
    optimizer = make_optimizer(arguments(lr=1e-2), weights)
    for gradient, expected in zip(golden["novograd_grads"], golden["novograd_paper_params_after_each_step"],
                                  strict=True):
        weights[0].grad = torch.from_numpy(gradient[:35].reshape(5, 7).copy())
        weights[1].grad = torch.from_numpy(gradient[35:].copy())
        optimizer.step()
        found = torch.cat([weight.detach().flatten() for weight in weights]).numpy()
        assert np.abs(found - expected).max() < 1e-6


def test_novograd_is_nemos():
    """Over many steps, a gradient of zeros among them."""
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in ((5, 7), (3,), (2, 3, 3, 3))]
    weights = [[torch.nn.Parameter(p.clone()) for p in start] for _ in range(2)]
    settings = {"lr": 1e-2, "betas": (0.98, 0.5), "weight_decay": 1e-3}
    optimizers = Novograd(weights[0], **settings), NovoGrad(weights[1], **settings)
    for step in range(20):
        gradients = [torch.randn(p.shape, generator=generator) * (step != 0 or i != 1) for i, p in enumerate(start)]
        for mine, optimizer in zip(weights, optimizers, strict=True):
            for p, gradient in zip(mine, gradients, strict=True):
                p.grad = gradient.clone()
            optimizer.step()
    for theirs, ours, p in zip(*weights, start, strict=True):
        assert (theirs - p).abs().min() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def rates(args, steps: int, more: int = 0) -> np.ndarray:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=args.lr, momentum=0.9)
    schedule = make_schedule(args, optimizer, steps)
    found = []
    for _ in range(steps + more):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return np.array(found)


def test_cosine_is_the_originals(golden):
    """Up to its end: after it the original's rate fell to 0, and no step of ours comes after."""
    expected = golden["cosine_total420_warm0.05_lr1e-3_min8e-5"]
    assert np.abs(rates(arguments(), 420, more=1) - expected[:421]).max() < 1e-9


@pytest.mark.parametrize("recipe, steps", [("paper", 240), ("fast", 20), ("fast", 240)])
def test_learning_rate_peaks_at_lr_and_ends_at_lr_end(recipe, steps):
    args = arguments(**RECIPES[recipe])
    found = rates(args, steps)
    assert found.max() == pytest.approx(args.lr, rel=0.05)
    assert found[-1] == pytest.approx(args.lr_end, abs=0.02 * args.lr)
    top = found.argmax()
    assert np.all(np.diff(found[:top + 1]) > 0) and np.all(np.diff(found[top:]) < 0)


@pytest.fixture(scope="module")
def clips(words):
    corpus = load_corpus("words", ("train", "dev"), words.registry)
    return [Clips.of(corpus.splits[split], f"words-{split}", 1.0, words.folder / "cache") for split in ("train", "dev")]


def batch_of(clips, task, step=0):
    waveforms, labels = clips[np.arange(len(clips)).reshape(6, -1)[:, :task.args.per_class].ravel()]
    task.done = step
    return waveforms, labels


@pytest.mark.parametrize("data_probs", [1, 2])
def test_a_class_drawn_twice_for_a_batch_is_one_class(clips, data_probs):
    """Its clips are positives of each other, never negatives; as an oracle, the loss by the labels."""
    task = training.TripletTask(make_encoder("Res8", 8), arguments(data_probs=data_probs, mining="hardest"), 10)
    task.eval()
    task.frontend.train()
    waveforms, labels = batch_of(clips[0], task)
    assert len(set(labels.tolist())) == 6
    labels = labels % 4  # classes 0 and 1 twice
    for batch in (waveforms, labels), (waveforms, labels % 2):  # and another layout of the same size
        loss = task.training_step(batch, 0)
        embeddings = embed(task.encoder, task.spectrograms(*task.sound(*batch, task.step_generators()[0])))
        expected = triplet_loss(embeddings, batch[1], 0.5, "hardest")
        assert loss.item() == pytest.approx(expected.loss.item(), rel=1e-5)
    task.training_step((waveforms, labels * 0), 0).backward()  # one class alone: no triplet, and no NaN
    assert all(p.grad is None or p.grad.isfinite().all() for p in task.parameters())


def test_a_step_follows_from_seed_and_number_alone(clips):
    task = training.TripletTask(make_encoder("Res8", 8), arguments(shift=True), 10)
    task.eval()
    task.frontend.train()  # with dither
    first = [task.training_step(batch_of(clips[0], task, step), 0).item() for step in (3, 4)]
    again = [task.training_step(batch_of(clips[0], task, step), 0).item() for step in (4, 3)]
    assert first == again[::-1]
    assert first[0] != first[1]


@pytest.mark.parametrize("changes", [{}, {"shift": True}, {"speed": True}, {"spec_augment": "light"},
                                     {"precision": "bf16"}, {"mining": "hardest"}, {"mining": "semihard"}])
def test_every_setting_gives_a_gradient(clips, changes):
    torch.manual_seed(0)
    task = training.TripletTask(make_encoder("Res8", 8), arguments(**changes), 10)
    task.training_step(batch_of(clips[0], task), 0).backward()
    assert all(p.grad.abs().sum() > 0 and p.dtype == torch.float32 for p in task.encoder.parameters())
    assert set(task.figures) == {"loss", "active", "d_pos", "d_neg"}


@pytest.mark.parametrize("flag", CHANCES)
def test_an_augmentation_of_its_own(clips, flag):
    """It changes the step; with probability 0 nothing, to the bit; and every step draws anew, but the same again."""
    def losses(**changes):
        torch.manual_seed(0)
        task = training.TripletTask(make_encoder("Res8", 8), arguments(shift=True, spec_augment="light", **changes), 10)
        return [task.training_step(batch_of(clips[0], task, step), 0).item() for step in (3, 4, 3)]

    plain, zero, half = losses(), losses(**{flag: 0.0}), losses(**{flag: 0.5})
    assert plain == zero and half[0] == half[2]
    assert half[0] != plain[0] and half[1] != plain[1]


def test_a_frozen_encoder_does_not_change(clips):
    torch.manual_seed(0)
    encoder = make_encoder("Res8", 8)
    task = training.ClassifierTask(encoder, ClassificationNet(8, 6), arguments(), 10, frozen=True)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    task.train()
    optimizer = task.configure_optimizers()["optimizer"]
    for step in range(3):
        task.training_step(batch_of(clips[0], task, step), 0).backward()
        optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert set(task.saved_modules()) == {"ClassificationNet"}


def test_embeddings_computed_once_train_the_head_alike(clips):
    """Without augmentation, computing a frozen encoder's embeddings once is the same but for the dither."""
    torch.manual_seed(0)
    task = training.ClassifierTask(make_encoder("Res8", 8), ClassificationNet(8, 6), arguments(), 10, frozen=True)
    data = task.embedded_once(clips[0], torch.device("cpu"))
    task.train()
    losses = [task.training_step(source[np.arange(20)], 0).item() for source in (clips[0], data)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


READS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.equal.default,
         torch.ops.aten.masked_select.default, torch.ops.aten._unique2.default}


class Reads(TorchDispatchMode):
    """Counts the operations for which the host would wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.count, self.on_host = 0, set()  # addresses of tensors that are the host's on any machine

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function in READS and args[0].data_ptr() not in self.on_host
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_the_host_reads_nothing_back_but_at_the_logging_interval(clips, words, tmp_path, recipe):
    """What would wait on a GPU, found on the CPU: the code is the same."""
    before = []

    class Watched(training.TripletTask):
        def on_train_batch_start(self, batch, index):
            before.append(reads.count)
            steps = (state["step"] for state in self.optimizers().state.values())  # AdamW counts on the host
            reads.on_host |= {step.data_ptr() for step in steps if isinstance(step, torch.Tensor)}

    args = arguments(**RECIPES[recipe] | {"per_class": 3, "shift": True, "speed": True, "spec_augment": "full"}
                     | dict.fromkeys(CHANCES, 0.5),
                     name="reads", step_freq=1000, eval_freq=1000, checkpoints_to_keep=1)
    steps = 2 * loop.LOG_STEPS + 2
    task = Watched(make_encoder("Res8", 4), args, steps, NoiseBank(words.folder / "noise", 16_000))
    sampler = BalancedBatchSampler(clips[0].manifest.label, words.labels, 6, 3, num_steps=steps)
    with Reads() as reads:
        loop.fit(task, Run(tmp_path, "reads"), ResidentClips(clips[0], "cpu"), sampler, torch.device("cpu"),
                 lambda: 0.0)
    read = np.diff(before)  # by each step but the last
    assert len(read) == steps - 1
    logging = np.arange(1, steps) % loop.LOG_STEPS == 0
    assert (read[logging] == len(task.figures)).all()
    assert (read[1:][~logging[1:]] == 0).all()  # the first finds the pairs, and makes the optimiser's state


def test_the_compiled_encoder_is_trained_and_the_plain_one_tested(clips, monkeypatch):
    calls = []

    def compiled(module, dynamic):
        def forward(x):
            calls.append(len(x))
            return module(x)
        return forward

    monkeypatch.setattr(torch, "compile", compiled)
    encoder = make_encoder("Res8", 4)
    task = training.TripletTask(encoder, arguments(compile=True), 10)
    task.training_step(batch_of(clips[0], task), 0)
    assert calls == [18]
    task.embed(clips[1])
    assert calls == [18]
    assert list(task.saved_modules()["Res8"].state_dict()) == list(encoder.state_dict())


@pytest.mark.parametrize("recipe, share", [("fast", 0.05), ("fast", 0.0), ("fast", 1 - 2**-53), ("paper", 1 - 2**-53)])
@pytest.mark.parametrize("steps", [1, 2, 20])
def test_a_warm_up_of_any_share(recipe, share, steps):
    """Also one of a single step, by whose length less one torch's one-cycle divides."""
    args = arguments(**RECIPES[recipe] | {"warmup": share})
    found = rates(args, steps)
    assert np.isfinite(found).all() and (found > 0).all() and found.max() <= args.lr * (1 + 1e-6)


def arguments_of_a_run(**changes):
    return arguments(**{"name": "run", "step_freq": 2, "eval_freq": 1000, "checkpoints_to_keep": 100} | changes)


def fitted(task, folder, clips, steps=8):
    sampler = BalancedBatchSampler(clips[0].manifest.label, clips[0].manifest.labels, 6, 3, num_steps=steps)
    return loop.fit(task, Run(folder, "run"), clips[0], sampler, torch.device("cpu"), lambda: 1.0)


class Diverging(training.TripletTask):
    """Training whose ``spoil`` makes it diverge in its step 5."""

    spoil = staticmethod(lambda task: None)

    def training_step(self, batch, index):
        loss = super().training_step(batch, index)
        if self.done == 4:
            type(self).spoil(self)
            return loss * float("nan") if self.figures["loss"].isnan() else loss
        return loss


def loss_is_nan(task):
    task.figures["loss"] = torch.tensor(float("nan"))


def statistics_are_infinite(task):
    task.encoder.bn2.running_var[0] = float("inf")  # which the loss in training does not show


@pytest.mark.parametrize("spoil, said", [(loss_is_nan, "loss is nan"), (statistics_are_infinite, "bn2.running_var")])
@pytest.mark.parametrize("when, step", [({}, 6), ({"step_freq": 100, "eval_freq": 7}, 7)])
def test_training_that_diverges_ends_before_anything_is_made_of_it(clips, tmp_path, monkeypatch, spoil, said, when,
                                                                    step):
    monkeypatch.setattr(Diverging, "spoil", staticmethod(spoil))
    task = Diverging(make_encoder("Res8", 4), arguments_of_a_run(**when), 8)
    with pytest.raises(UserError, match="diverged") as told:
        fitted(task, tmp_path, clips)
    assert said in str(told.value) and f"by step {step} of 8" in str(told.value)
    saved = Run(tmp_path, "run").steps("Res8")
    assert saved == ([2, 4] if not when else [])
    assert ("of step 4" if saved else "of step none") in str(told.value)


@pytest.mark.parametrize("error, kind, said", [
    (RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"), UserError,
     "--per_class"),
    (torch.OutOfMemoryError("CUDA out of memory."), UserError, "--batch_classes"),
    (MemoryError(), UserError, "--clip_seconds"),
    (OSError(errno.ENOSPC, "No space left on device"), UserError, "make room"),
    (RuntimeError("a defect"), RuntimeError, "a defect")])
def test_memory_or_a_disk_that_does_not_suffice_is_told_and_defects_stay(clips, tmp_path, error, kind, said):
    class Failing(training.TripletTask):
        def training_step(self, batch, index):
            raise error

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with pytest.raises(kind, match=said):
        fitted(Failing(make_encoder("Res8", 4), arguments_of_a_run(), 8), tmp_path, clips)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_head_with_scores_that_are_not_numbers():
    head = ClassificationNet(8, 3)
    embeddings = np.zeros((4, 8), np.float32)
    assert np.isfinite(head_scores(head, embeddings)).all()
    embeddings[2, 1] = np.nan
    with pytest.raises(UserError, match=r"scores of 1 of 4 clips are not numbers \(first: clip 2\)"):
        head_scores(head, embeddings)
    head.fc1.weight.data[0, 0] = np.inf
    with pytest.raises(UserError, match="not numbers"):
        head_scores(head, np.ones((4, 8), np.float32))


def test_every_seed_step_and_process_draws_otherwise_and_seed_0_as_ever():
    drawn = {torch.rand(4, generator=torch.Generator().manual_seed(training.step_seed(*made))).numpy().tobytes()
             for made in itertools.product((0, 1, 2, 2**32, 2**33, 2**70), range(20), range(3))}
    assert len(drawn) == 6 * 20 * 3
    assert [training.step_seed(0, step, 0) for step in (0, 7, 900)] == [0, 7, 900]


def test_a_signal_reaches_the_heads_training_once(tmp_path, monkeypatch):
    (tmp_path / "TripletClassifier.py").write_text(SCRIPT)
    monkeypatch.setattr(loop, "ROOT", tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "of torchrun, which did not start it")
    begun = tmp_path / "begun"
    assert loop._run_classifier([str(begun)], begun.exists) == (143, f"['{begun}'] []\nsaved\n")
