"""Each clip against all others, one at a time, and against the library's."""

import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import SupConLoss

from models.losses.supcon import SupervisedContrastive
from tests.models.losses.batches import batch, check_gradients


def oracle(embeddings: np.ndarray, labels: list[int], scale: float) -> tuple[float, float]:
    losses, right = [], []
    for i, clip in enumerate(embeddings):
        others = [k for k in range(len(labels)) if k != i]
        scores = {k: scale * clip @ embeddings[k] for k in others}
        total = math.log(sum(math.exp(score) for score in scores.values()))
        own = [k for k in others if labels[k] == labels[i]]
        losses.append(-sum(scores[k] - total for k in own) / len(own))
        right.append(labels[max(others, key=scores.get)] == labels[i])
    return float(np.mean(losses)), float(np.mean(right))


@pytest.mark.parametrize("per_class, scale", [(2, 10.0), (6, 1.0)])
def test_loss_and_accuracy_against_the_oracle(per_class, scale):
    embeddings, labels = batch(5, per_class)
    loss, figures = SupervisedContrastive(scale)(embeddings, labels)
    expected, right = oracle(embeddings.numpy(), labels.tolist(), scale)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert 0 < right < 1 and figures["batch_accuracy"].item() == pytest.approx(right)


def test_loss_and_gradient_are_the_librarys():
    embeddings, labels = batch(4, 6)  # which the library normalises once more
    found = []
    for loss in (SupervisedContrastive(10.0), SupConLoss(temperature=0.1)):
        x = embeddings.clone().requires_grad_()
        value = loss(torch.nn.functional.normalize(x, dim=1), labels)
        value = value if isinstance(value, torch.Tensor) else value[0]
        found.append([value.detach(), *torch.autograd.grad(value, x)])
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its)


def test_gradients():
    check_gradients(SupervisedContrastive(4.0), *batch())
