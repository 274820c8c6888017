"""What every loss promises: it is its source's, learns, reads nothing back, goes on where it was, and is recorded."""

import math
from argparse import Namespace

import pytest
import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss, SupConLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch.nn import functional

from models.encoders.build import make_encoder
from models.losses.build import AngularPrototypical, MultiSimilarity, SupervisedContrastive, make_loss
from models.runs.checkpoints import TRAINER, Run, load_state
from models.runs.options.loss import LOSSES
from models.runs.options.recipe import RECIPES
from models.training.tasks import TripletTask
from tests.models.training.test_training import Reads, arguments

OTHERS = [name for name in LOSSES if name != "triplet"]
CLASSES, PER_CLASS, SIZE = 6, 5, 8


def made(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return make_loss(Namespace(loss=name, per_class=PER_CLASS, embedding_size=SIZE, **LOSSES[name]))


def batch(classes: int = 6, per_class: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit embeddings (B, 5) in double, a class's side by side, and the classes' numbers, in no order."""
    torch.manual_seed(0)
    free = torch.randn(classes, 1, 5, dtype=torch.float64) + 0.7 * torch.randn(classes, per_class, 5).double()
    return functional.normalize(free.view(-1, 5), dim=1), torch.randperm(classes).repeat_interleave(per_class)


@pytest.mark.parametrize("name", ["supcon", "multi_similarity"])
def test_loss_and_gradient_are_the_librarys(name):
    embeddings, labels = batch()
    listed = MultiSimilarityMiner(epsilon=0.1)(embeddings, labels)
    ours, library = {"supcon": (SupervisedContrastive(10.0), lambda x: SupConLoss(temperature=0.1)(x, labels)),
                     "multi_similarity": (MultiSimilarity(), lambda x: MultiSimilarityLoss()(x, labels, listed))}[name]
    found = []
    for loss in (lambda x: ours(functional.normalize(x, dim=1), labels)[0], library):
        x = embeddings.clone().requires_grad_()
        value = loss(x)
        found.append([value.detach(), *torch.autograd.grad(value, x)])
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its)


@pytest.mark.parametrize("per_class, scale", [(2, 10.0), (6, 1.0)])
def test_each_class_s_last_clip_is_held_against_the_means_of_the_others(per_class, scale):
    embeddings, labels = batch(5, per_class)
    loss, figures = AngularPrototypical(per_class, scale).double()(embeddings, labels)
    by_class, losses, right = embeddings.view(5, per_class, 5), [], []
    for own, clips in enumerate(by_class):
        scores = [scale * float(functional.cosine_similarity(clips[-1], others[:-1].mean(0), dim=0))
                  for others in by_class]
        losses.append(-math.log(math.exp(scores[own]) / sum(map(math.exp, scores))))
        right.append(max(scores) == scores[own])
    assert loss.item() == pytest.approx(sum(losses) / 5, rel=1e-6)
    assert figures["batch_accuracy"].item() == pytest.approx(sum(right) / 5)
    assert figures["scale"].item() == pytest.approx(scale)


def test_classes_far_apart_have_no_hard_pair_and_a_zero_loss_that_back_propagates():
    embeddings = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]], requires_grad=True)
    loss, figures = MultiSimilarity()(embeddings, torch.tensor([1, 1, 0, 0]))
    loss.backward()
    assert (loss.item(), figures["active"].item(), embeddings.grad.abs().max().item()) == (0, 0, 0)


@pytest.mark.parametrize("name", OTHERS)
def test_descending_the_loss_separates_the_classes(name):
    loss = made(name)
    free = torch.randn(CLASSES * PER_CLASS, SIZE, requires_grad=True)
    labels = torch.randperm(CLASSES).repeat_interleave(PER_CLASS)
    optimizer, seen = torch.optim.Adam([free, *loss.parameters()], lr=0.05), []
    for _ in range(150):
        value, figures = loss(functional.normalize(free, dim=1), labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        seen.append({key: figure.item() for key, figure in figures.items()})
    assert seen[0]["loss"] > 1.2 * seen[-1]["loss"]
    assert seen[0]["batch_accuracy"] < 0.8 and seen[-1]["batch_accuracy"] == 1
    assert seen[-1]["d_pos"] < 0.7 * seen[0]["d_pos"] and seen[-1]["d_neg"] > seen[-1]["d_pos"] + 0.5


@pytest.mark.parametrize("name", OTHERS)
def test_distances_are_plain_means(name):
    embeddings = functional.normalize(torch.randn(CLASSES * PER_CLASS, SIZE), dim=1)
    labels = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
    figures = made(name)(embeddings, labels)[1]
    d, same = torch.cdist(embeddings, embeddings) ** 2, labels[:, None] == labels
    assert figures["d_pos"].item() == pytest.approx(d[same & ~torch.eye(len(d), dtype=bool)].mean().item(), abs=1e-5)
    assert figures["d_neg"].item() == pytest.approx(d[~same].mean().item(), abs=1e-5)
    assert all(figure.ndim == 0 and not figure.requires_grad for figure in figures.values())


class MoreReads(Reads):
    """Also an index of bools, whose true ones the host has to count."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default,
                        torch.ops.aten.index_put_.default):
            self.count += any(index is not None and index.dtype == torch.bool for index in args[1])
        return super().__torch_dispatch__(function, types, args, kwargs)


@pytest.mark.parametrize("name", OTHERS)
def test_the_host_reads_nothing_back(name):
    loss, embeddings = made(name), functional.normalize(torch.randn(CLASSES * PER_CLASS, SIZE), dim=1)
    embeddings.requires_grad_()
    labels = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
    with MoreReads() as reads:
        loss(embeddings, labels)[0].backward()
    assert reads.count == 0
    with MoreReads() as reads:
        SupConLoss()(embeddings, labels)
    assert reads.count > 0  # the library's own is seen to


@pytest.mark.parametrize("name", OTHERS)
def test_a_resumed_run_is_the_uninterrupted_one(name, runs, words, run):
    folder, own = Run(runs, f"resumed-{name}"), ["--loss_lr=0.05"] if "loss_lr" in LOSSES[name] else []
    common = [f"--name={folder.name}", f"--runs_dir={runs}", *words.flags, "--model=Res8"]
    assert run("TripletEncoder", *common, "--hidden_size=6", "--num_steps=6", "--step_freq=3", "--eval_clips=12",
               "--recipe=fast", f"--loss={name}", *own).code == 0
    first, whole = (load_state(folder.path(TRAINER, step)) for step in (3, 6))
    encoder = load_state(folder.path("Res8", 6))
    assert first["loss"].keys() == made(name).state_dict().keys()
    assert all(not torch.equal(value, whole["loss"][key]) for key, value in first["loss"].items())  # it learnt
    for module in ("Res8", TRAINER):
        folder.path(module, 6).unlink()
    assert run("TripletEncoder", *common, "--resume").code == 0
    again = load_state(folder.path(TRAINER, 6))
    assert all(torch.equal(value, again["loss"][key]) for key, value in whole["loss"].items())
    resumed = load_state(folder.path("Res8", 6))
    assert all(torch.equal(value, resumed[key]) for key, value in encoder.items())
    arguments = folder.config()["arguments"]
    assert arguments["loss"] == name
    for flag, value in LOSSES[name].items():
        assert arguments[flag] == (0.05 if flag == "loss_lr" else value)
    other = run("TripletEncoder", *common, "--resume", "--loss=triplet")
    assert other.code == 2 and "--loss triplet contradicts" in other.error and name in other.error


def test_a_damaged_loss_is_told(runs, words, run):
    folder = Run(runs, "damaged-loss")
    common = [f"--name={folder.name}", f"--runs_dir={runs}", *words.flags, "--model=Res8"]
    assert run("TripletEncoder", *common, "--hidden_size=6", "--num_steps=2", "--eval_clips=12", "--per_class=2",
               "--loss=angular_prototypical").code == 0
    path = folder.path(TRAINER, 2)
    whole = load_state(path)
    for part, said in ((None, "lacks what the loss had learnt"),
                       ({"scale.log": torch.zeros(2)}, "'scale.log' is floating (2,)")):
        torch.save(whole | {"loss": part}, path)
        refused = run("TripletEncoder", *common, "--resume")
        assert refused.code == 2 and f"{path}: {said}" in refused.error


@pytest.mark.parametrize("flags, said", [
    (["--loss=angular_prototypical", "--per_class=1"], "--per_class 1"),
    (["--loss=supcon", "--batch_classes=1"], "--batch_classes 1")])
def test_what_cannot_be_is_told_before_the_run_is_begun(flags, said, tmp_path, words, run):
    refused = run("TripletEncoder", "--name=bad", f"--runs_dir={tmp_path}", *words.flags, "--model=Res8", *flags)
    assert refused.code == 2 and said in refused.error and refused.error.count("\n") <= 2
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_what_a_loss_learns_has_its_own_rate_and_no_weight_decay(recipe):
    args, loss = arguments(**RECIPES[recipe], loss_lr=0.3), made("angular_prototypical")
    made_by_task = TripletTask(make_encoder("Res8", 8), args, 50, loss=loss).configure_optimizers()
    optimizer, schedule = made_by_task["optimizer"], made_by_task["lr_scheduler"]["scheduler"]
    encoders, own = optimizer.param_groups
    assert own["params"] == list(loss.parameters()) and len(encoders["params"]) == 7
    assert (encoders["weight_decay"], own["weight_decay"]) == (args.weight_decay, 0)
    rates = []
    for _ in range(50):
        rates.append([group["lr"] for group in (encoders, own)])
        optimizer.step()
        schedule.step()
    highest, last = (torch.tensor(x) for x in (rates, rates[-1]))
    assert highest.amax(0).tolist() == pytest.approx([args.lr, 0.3], rel=0.05)
    assert last[0].item() == pytest.approx(args.lr_end, abs=0.02 * args.lr) and last[1] < 0.01


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", OTHERS)
def test_a_gpu_gets_the_same_and_is_never_waited_for(name):
    embeddings, found = functional.normalize(torch.randn(CLASSES * PER_CLASS, SIZE), dim=1), []
    for device in ("cpu", "cuda"):
        loss, labels = made(name).to(device), torch.arange(CLASSES, device=device).repeat_interleave(PER_CLASS)
        x = embeddings.to(device, copy=True).requires_grad_()
        for mode in ("default", "error"):  # the first call loads kernels
            torch.cuda.set_sync_debug_mode(mode)
            try:
                value, figures = loss(x, labels)
                gradient, = torch.autograd.grad(value, x)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        found.append([value.detach().cpu(), gradient.cpu(), *(figure.cpu() for figure in figures.values())])
    for on_cpu, on_gpu in zip(*found, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-4, atol=1e-5)
