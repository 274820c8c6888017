"""The miner and the losses against brute force, the original's figures and their sources; what every loss promises."""

import itertools
import math
from argparse import Namespace

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss, SupConLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch.nn import functional

from models.encoders.build import make_encoder
from models.losses import (
    AngularPrototypical,
    MultiSimilarity,
    SupervisedContrastive,
    make_loss,
    mine,
    own_class,
    positive_pairs,
    squared_distances,
    triplet_loss,
)
from models.runs.checkpoints import TRAINER, Run, load_state
from models.runs.options.training import LOSSES, MINING, RECIPES
from models.training.tasks import TripletTask
from tests.conftest import refused
from tests.models.training.test_training import Reads, arguments

OTHERS = [name for name in LOSSES if name != "triplet"]
CLASSES, PER_CLASS, SIZE = 6, 5, 8


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_of_original(golden, name):
    return torch.from_numpy(golden[f"mining_{name}_emb"]), torch.from_numpy(golden[f"mining_{name}_lab"])


@pytest.mark.parametrize("name", ["b350", "b140"])
def test_hardest_triplets_loss_and_gradient_are_the_originals(golden, name):
    embeddings, labels = batch_of_original(golden, name)
    embeddings.requires_grad_()
    pairs = positive_pairs(labels)
    negative, found = mine(squared_distances(embeddings.detach()), labels, pairs, 0.5, "hardest")
    triplets = torch.cat([pairs, negative[:, None]], 1)[found]
    assert np.array_equal(triplets.numpy(), golden[f"mining_{name}_hardest"])
    loss = triplet_loss(embeddings, labels, 0.5, "hardest").loss
    assert loss.item() == pytest.approx(float(golden[f"mining_{name}_loss_hardest"]), abs=1e-5)
    loss.backward()
    assert np.abs(embeddings.grad.numpy() - golden[f"mining_{name}_grad_hardest"]).max() < 1e-6


@pytest.mark.parametrize("name", ["b350", "b140"])
def test_random_triplets_have_the_originals_pairs_and_nearly_its_loss(golden, name):
    embeddings, labels = batch_of_original(golden, name)
    pairs = positive_pairs(labels)
    _, found = mine(squared_distances(embeddings), labels, pairs, 0.5, "random", generator())
    assert np.array_equal(pairs[found].numpy(), golden[f"mining_{name}_random_seed0"][:, :2])
    losses = [triplet_loss(embeddings, labels, 0.5, "random", generator(seed)).loss.item() for seed in range(200)]
    # The original's is one draw of the same distribution.
    assert abs(np.mean(losses) - golden[f"mining_{name}_loss_random"]) < 4 * np.std(losses)


def test_the_gradient_is_the_same_at_every_run_with_several_threads(golden):
    """Sums that several threads make in the order they come to them make a run impossible to repeat."""
    embeddings, labels = batch_of_original(golden, "b350")
    embeddings.requires_grad_()
    threads, gradients = torch.get_num_threads(), []
    try:
        torch.set_num_threads(4)
        for _ in range(20):
            loss = triplet_loss(embeddings, labels, 0.5, "random", generator()).loss
            gradients += torch.autograd.grad(loss, embeddings)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


def oracle(embeddings: np.ndarray, labels: np.ndarray, margin: float, mining: str) -> dict:
    """Every pair with the set of negatives that the rule allows; an empty set drops the pair."""
    allowed = {}
    for a, p in itertools.combinations(range(len(labels)), 2):
        if labels[a] != labels[p]:
            continue
        to_positive = ((embeddings[a] - embeddings[p]) ** 2).sum()
        distances = {n: ((embeddings[a] - embeddings[n]) ** 2).sum() for n in range(len(labels))
                     if labels[n] != labels[a]}
        usable = {n: d for n, d in distances.items() if to_positive - d + margin > 0}
        if mining == "semihard":
            usable = {n: d for n, d in usable.items() if d > to_positive}
        elif mining == "hardest" and usable:
            usable = {min(usable, key=usable.get): 0}
        allowed[a, p] = set(usable)
    return allowed


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("spread", [0.05, 0.4, 2.0])
def test_mining_against_the_oracle(mining, spread):
    rng = np.random.default_rng(int(spread * 100))
    labels = rng.integers(0, 5, 24)  # classes of unequal size, in no order
    embeddings = rng.standard_normal((5, 6))[labels] + spread * rng.standard_normal((24, 6))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    allowed = oracle(embeddings, labels, 0.3, mining)
    tensor, classes = torch.from_numpy(embeddings), torch.from_numpy(labels)
    pairs = positive_pairs(classes)
    assert [tuple(pair) for pair in pairs.tolist()] == list(allowed)
    drawn = {pair: set() for pair in allowed}
    for seed in range(300):
        negative, found = mine(squared_distances(tensor), classes, pairs, 0.3, mining, generator(seed))
        for pair, n, ok in zip(allowed, negative.tolist(), found.tolist(), strict=True):
            assert ok == bool(allowed[pair])
            if ok:
                drawn[pair].add(n)
    assert all(drawn[pair] <= allowed[pair] for pair in allowed)
    few = [pair for pair in allowed if len(allowed[pair]) <= 20]
    assert all(drawn[pair] == allowed[pair] for pair in few)  # and each allowed one comes up


@pytest.mark.parametrize("mining", ["random", "semihard"])
@pytest.mark.parametrize("block", [1, 100, 1 << 20])
def test_a_seed_draws_what_one_pair_at_a_time_would(monkeypatch, mining, block):
    """In blocks of pairs of any size, and with the last word of bools not full."""
    monkeypatch.setattr("models.losses._BLOCK_CPU", block)
    labels = torch.randint(4, (29,), generator=generator())
    distances, pairs = squared_distances(torch.rand(29, 3, generator=generator(1))), positive_pairs(labels)
    negative, found = mine(distances, labels, pairs, 0.1, mining, generator(2))
    draws = torch.rand(len(pairs), dtype=torch.float64, generator=generator(2))
    assert 0 < found.sum() < len(pairs)
    for (a, p), n, ok, draw in zip(pairs.tolist(), negative, found, draws.tolist(), strict=True):
        usable = (labels != labels[a]) & (distances[a] < distances[a, p] + 0.1)
        if mining == "semihard":
            usable &= distances[a] > distances[a, p]
        columns = usable.nonzero()[:, 0]
        assert ok == bool(len(columns))
        assert not ok or n == columns[int(draw * len(columns))]


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 0, 0], [0, 0, 1, 1]])
def test_no_usable_triplet_gives_a_zero_loss_that_back_propagates(mining, labels):
    """No pair; no negative; and negatives that are far enough."""
    embeddings = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]], requires_grad=True)
    result = triplet_loss(embeddings, torch.tensor(labels), 0.5, mining, generator())
    assert result.loss.item() == 0
    assert result.figures["active"].item() == 0
    result.loss.backward()
    assert torch.equal(embeddings.grad, torch.zeros_like(embeddings))


def test_figures_against_plain_means():
    torch.manual_seed(0)
    embeddings = torch.nn.functional.normalize(torch.randn(12, 5), dim=1)
    labels = torch.arange(12) // 3
    result = triplet_loss(embeddings, labels, 0.5, "hardest")
    d, same = torch.cdist(embeddings, embeddings) ** 2, labels[:, None] == labels
    assert result.figures["d_pos"].item() == pytest.approx(d[same & ~torch.eye(12, dtype=bool)].mean().item(), abs=1e-5)
    assert result.figures["d_neg"].item() == pytest.approx(d[~same].mean().item(), abs=1e-5)
    negative, found = mine(d, labels, positive_pairs(labels), 0.5, "hardest")
    a, p = positive_pairs(labels)[found].T
    losses = d[a, p] - d[a, negative[found]] + 0.5
    assert result.loss.item() == pytest.approx(losses.mean().item(), abs=1e-5)
    assert result.figures["active"].item() == pytest.approx(found.float().mean().item())


def test_known_pairs_and_classes_change_nothing(golden):
    embeddings, labels = batch_of_original(golden, "b140")
    given = triplet_loss(embeddings, labels, 0.5, "random", generator(3), positive_pairs(labels), own_class(labels))
    assert given.loss == triplet_loss(embeddings, labels, 0.5, "random", generator(3)).loss


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
    torch.testing.assert_close(*found)


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
def test_a_loss_is_learnt_recorded_and_kept(name, runs, words, run):
    folder, own = Run(runs, f"loss-{name}"), ["--loss_lr=0.05"] if "loss_lr" in LOSSES[name] else []
    common = [f"--name={folder.name}", f"--runs_dir={runs}", *words.flags, "--model=Res8"]
    assert run("TripletEncoder", *common, "--hidden_size=6", "--num_steps=6", "--step_freq=3", "--eval_clips=12",
               "--recipe=fast", f"--loss={name}", *own).code == 0
    first, last = (load_state(folder.path(TRAINER, step))["loss"] for step in (3, 6))
    assert first.keys() == made(name).state_dict().keys()
    assert all(not torch.equal(value, last[key]) for key, value in first.items())  # it learnt
    arguments = folder.config()["arguments"]
    assert arguments["loss"] == name
    for flag, value in LOSSES[name].items():
        assert arguments[flag] == (0.05 if flag == "loss_lr" else value)
    refused(run("TripletEncoder", *common, "--resume", "--loss=triplet"), "--loss triplet contradicts", name)


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
        refused(run("TripletEncoder", *common, "--resume"), f"{path}: {said}")


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
