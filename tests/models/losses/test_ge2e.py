"""Every clip against the classes' means, one clip at a time."""

import math

import numpy as np
import pytest
import torch

from models.losses.ge2e import GE2E
from tests.models.losses.batches import batch, check_gradients


def oracle(embeddings: np.ndarray, per_class: int, scale: float) -> tuple[float, float]:
    """Loss and accuracy."""
    by_class = embeddings.reshape(-1, per_class, embeddings.shape[1])
    losses, right = [], []
    for own, clips in enumerate(by_class):
        for i, clip in enumerate(clips):
            scores = []
            for k, others in enumerate(by_class):
                mean = (np.delete(others, i, 0) if k == own else others).mean(0)
                scores.append(scale * clip @ mean / np.linalg.norm(mean))
            losses.append(-math.log(math.exp(scores[own]) / sum(map(math.exp, scores))))
            right.append(np.argmax(scores) == own)
    return float(np.mean(losses)), float(np.mean(right))


@pytest.mark.parametrize("per_class", [2, 3, 6])
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_loss_and_accuracy_against_the_oracle(per_class, scale):
    embeddings, labels = batch(5, per_class)
    loss, figures = GE2E(per_class, scale).double()(embeddings, labels)
    expected, right = oracle(embeddings.numpy(), per_class, scale)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert 0 < right < 1 and figures["batch_accuracy"].item() == pytest.approx(right)
    assert figures["scale"].item() == pytest.approx(scale)


def test_by_hand():
    """The first class's clips are at right angles to each other: without a clip its mean is the other one."""
    embeddings = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    loss, figures = GE2E(2, 3.0)(embeddings, torch.tensor([7, 7, 2, 2]))
    of_second = math.log(1 + math.exp(-3))  # cosine 1 to its own mean, 0 to the first class's
    assert loss.item() == pytest.approx((2 * math.log(2) + 2 * of_second) / 4, rel=1e-5)
    assert figures["d_neg"].item() == 2


def test_gradients():
    check_gradients(GE2E(3, 4.0).double(), *batch())
