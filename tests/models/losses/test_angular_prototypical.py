"""Each class's last clip against the means of the others, one query at a time."""

import math

import numpy as np
import pytest

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


@pytest.mark.parametrize("per_class, scale", [(2, 10.0), (6, 1.0)])
def test_loss_and_accuracy_against_the_oracle(per_class, scale):
    embeddings, labels = batch(5, per_class)
    loss, figures = AngularPrototypical(per_class, scale).double()(embeddings, labels)
    expected, right = oracle(embeddings.numpy(), per_class, scale)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert 0 < right < 1 and figures["batch_accuracy"].item() == pytest.approx(right)
    assert figures["scale"].item() == pytest.approx(scale)


def test_gradients():
    check_gradients(AngularPrototypical(3, 4.0).double(), *batch())
