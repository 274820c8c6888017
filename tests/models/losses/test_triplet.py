"""Mining and loss against the original's figures and an oracle that looks at one triplet at a time."""

import itertools

import numpy as np
import pytest
import torch

from models.losses.triplet import mine, own_class, positive_pairs, squared_distances, triplet_loss
from models.runs.options.loss import MINING


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(golden, name):
    return torch.from_numpy(golden[f"mining_{name}_emb"]), torch.from_numpy(golden[f"mining_{name}_lab"])


@pytest.mark.parametrize("name", ["b350", "b140"])
def test_hardest_triplets_loss_and_gradient_are_the_originals(golden, name):
    embeddings, labels = batch(golden, name)
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
    embeddings, labels = batch(golden, name)
    pairs = positive_pairs(labels)
    _, found = mine(squared_distances(embeddings), labels, pairs, 0.5, "random", generator())
    assert np.array_equal(pairs[found].numpy(), golden[f"mining_{name}_random_seed0"][:, :2])
    losses = [triplet_loss(embeddings, labels, 0.5, "random", generator(seed)).loss.item() for seed in range(200)]
    # The original's is one draw of the same distribution.
    assert abs(np.mean(losses) - golden[f"mining_{name}_loss_random"]) < 4 * np.std(losses)


def test_the_gradient_is_the_same_at_every_run_with_several_threads(golden):
    """Sums that several threads make in the order they come to them make a run impossible to repeat."""
    embeddings, labels = batch(golden, "b350")
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
    monkeypatch.setattr("models.losses.triplet._BLOCK_CPU", block)
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
    assert result.active.item() == 0
    result.loss.backward()
    assert torch.equal(embeddings.grad, torch.zeros_like(embeddings))


def test_figures_against_plain_means():
    torch.manual_seed(0)
    embeddings = torch.nn.functional.normalize(torch.randn(12, 5), dim=1)
    labels = torch.arange(12) // 3
    result = triplet_loss(embeddings, labels, 0.5, "hardest")
    d, same = torch.cdist(embeddings, embeddings) ** 2, labels[:, None] == labels
    assert result.positive.item() == pytest.approx(d[same & ~torch.eye(12, dtype=bool)].mean().item(), abs=1e-5)
    assert result.negative.item() == pytest.approx(d[~same].mean().item(), abs=1e-5)
    negative, found = mine(d, labels, positive_pairs(labels), 0.5, "hardest")
    a, p = positive_pairs(labels)[found].T
    losses = d[a, p] - d[a, negative[found]] + 0.5
    assert result.loss.item() == pytest.approx(losses.mean().item(), abs=1e-5)
    assert result.active.item() == pytest.approx(found.float().mean().item())


def test_known_pairs_and_classes_change_nothing(golden):
    embeddings, labels = batch(golden, "b140")
    given = triplet_loss(embeddings, labels, 0.5, "random", generator(3), positive_pairs(labels), own_class(labels))
    assert given.loss == triplet_loss(embeddings, labels, 0.5, "random", generator(3)).loss
