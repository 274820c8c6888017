"""What every loss promises: it learns, reads nothing back, goes on where it was, and is recorded."""

from argparse import Namespace

import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss
from torch.nn import functional

from models.encoders.build import make_encoder
from models.losses.build import make_loss
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
    (["--loss=supcon", "--batch_classes=1"], "--batch_classes 1"),
    (["--loss=supcon", "--margin=0.3"], "--margin has no meaning with --loss supcon")])
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
