"""Hard pairs and their weights, one clip at a time, and against the library's miner and loss."""

import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner

from models.losses.multi_similarity import MultiSimilarity, hard_pairs
from tests.models.losses.batches import batch, check_gradients


def oracle(embeddings: np.ndarray, labels: list[int]) -> tuple[float, float]:
    """Loss, and share of the pairs that are hard."""
    losses, hard, count = [], 0, len(labels)
    for i, clip in enumerate(embeddings):
        cosines = {k: clip @ embeddings[k] for k in range(count) if k != i}
        same = [s for k, s in cosines.items() if labels[k] == labels[i]]
        other = [s for k, s in cosines.items() if labels[k] != labels[i]]
        kept = [s for s in same if s < max(other) + 0.1], [s for s in other if s > min(same) - 0.1]
        hard += sum(map(len, kept))
        losses.append(math.log(1 + sum(math.exp(-2 * (s - 0.5)) for s in kept[0])) / 2
                      + math.log(1 + sum(math.exp(50 * (s - 0.5)) for s in kept[1])) / 50)
    return float(np.mean(losses)), hard / (count * (count - 1))


@pytest.mark.parametrize("seed", range(4))
def test_loss_and_hard_pairs_against_the_oracle(seed):
    embeddings, labels = batch(5, 4, seed=seed)
    loss, figures = MultiSimilarity()(embeddings, labels)
    expected, active = oracle(embeddings.numpy(), labels.tolist())
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert 0 < active < 1 and figures["active"].item() == pytest.approx(active)


def test_hard_pairs_loss_and_gradient_are_the_librarys():
    embeddings, labels = batch(6, 4)
    listed = MultiSimilarityMiner(epsilon=0.1)(embeddings, labels)
    positive, negative = hard_pairs(embeddings @ embeddings.T, labels)
    for mask, (anchor, other) in ((positive, listed[:2]), (negative, listed[2:])):
        assert set(zip(*(x.tolist() for x in mask.nonzero().T), strict=True)) == \
            set(zip(anchor.tolist(), other.tolist(), strict=True))
    found = []
    for of in (lambda x: MultiSimilarity()(x, labels)[0],
               lambda x: MultiSimilarityLoss(alpha=2, beta=50, base=0.5)(x, labels, listed)):
        x = embeddings.clone().requires_grad_()
        value = of(x)
        found.append([value.detach(), *torch.autograd.grad(value, x)])
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its)


def test_classes_far_apart_have_no_hard_pair_and_a_zero_loss_that_back_propagates():
    embeddings = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]], requires_grad=True)
    loss, figures = MultiSimilarity()(embeddings, torch.tensor([1, 1, 0, 0]))
    loss.backward()
    assert (loss.item(), figures["active"].item()) == (0, 0)
    assert embeddings.grad.abs().max() == 0


def test_gradients():
    check_gradients(MultiSimilarity(), *batch())
