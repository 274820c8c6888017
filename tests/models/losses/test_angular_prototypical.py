"""Each class's last clip against the means of the others, one query at a time."""

import math

import numpy as np
import pytest
import torch

from models.losses.angular_prototypical import AngularPrototypical
from tests.models.losses.batches import batch, check_gradients


def oracle(embeddings: np.ndarray, per_class: int, scale: float) -> tuple[float, float]:
    """Loss and accuracy."""
    by_class = embeddings.reshape(-1, per_class, embeddings.shape[1])
    losses, right = [], []
    for own, clips in enumerate(by_class):
        query, scores = clips[-1], []
        for others in by_class:
            mean = others[:-1].mean(0)
            scores.append(scale * query @ mean / np.linalg.norm(mean) / np.linalg.norm(query))
        losses.append(-math.log(math.exp(scores[own]) / sum(map(math.exp, scores))))
        right.append(np.argmax(scores) == own)
    return float(np.mean(losses)), float(np.mean(right))


@pytest.mark.parametrize("per_class", [2, 3, 6])
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_loss_and_accuracy_against_the_oracle(per_class, scale):
    embeddings, labels = batch(5, per_class)
    loss, figures = AngularPrototypical(per_class, scale).double()(embeddings, labels)
    expected, right = oracle(embeddings.numpy(), per_class, scale)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert 0 < right < 1 and figures["batch_accuracy"].item() == pytest.approx(right)
    assert figures["scale"].item() == pytest.approx(scale)


def test_by_hand():
    """Two classes at right angles: each query is on its own mean and at a right angle to the other."""
    embeddings = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    loss, figures = AngularPrototypical(2, 3.0)(embeddings, torch.tensor([7, 7, 2, 2]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-3)), rel=1e-5)
    assert figures["batch_accuracy"].item() == 1
    assert (figures["d_pos"].item(), figures["d_neg"].item()) == (0, 2)


def test_gradients():
    check_gradients(AngularPrototypical(3, 4.0).double(), *batch())


def test_a_bias_would_change_nothing():
    """The papers have one; that ours has none is no other loss."""
    embeddings, labels = batch()
    loss = AngularPrototypical(3, 4.0).double()
    plain = loss(embeddings, labels)[0]
    loss.scale.register_forward_hook(lambda module, given, out: out - 5)
    assert loss(embeddings, labels)[0].item() == pytest.approx(plain.item(), rel=1e-12)
