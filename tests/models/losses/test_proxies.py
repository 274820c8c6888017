"""Softmax losses with a margin: against one clip at a time, and against the library's own step."""

import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses as library

from models.losses.proxies import AdditiveMarginSoftmax, SubcentreArcFace
from tests.models.losses.batches import batch, check_gradients

CLASSES, SIZE = 9, 5
LOSSES = {"am_softmax": (lambda: AdditiveMarginSoftmax(CLASSES, SIZE, 0.2, 8.0), 1),
          "subcenter_arcface": (lambda: SubcentreArcFace(CLASSES, SIZE, 0.5, 8.0, 3), 3)}


def made(name: str):
    torch.manual_seed(0)
    return LOSSES[name][0]().double()


def oracle(name: str, embeddings: np.ndarray, labels: list[int], proxies: np.ndarray) -> tuple[float, float]:
    """Loss and accuracy, from proxies (D, C * K), a class's K side by side."""
    count, losses, right = LOSSES[name][1], [], []
    proxies = proxies / np.linalg.norm(proxies, axis=0)
    for clip, label in zip(embeddings, labels, strict=True):
        cosines = (clip @ proxies).reshape(CLASSES, count).max(1)
        right.append(np.argmax(cosines) == label)
        harder = cosines.copy()
        harder[label] = cosines[label] - 0.2 if name == "am_softmax" else math.cos(math.acos(cosines[label]) + 0.5)
        losses.append(math.log(np.exp(8 * harder).sum()) - 8 * harder[label])
    return float(np.mean(losses)), float(np.mean(right))


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_accuracy_against_the_oracle(name):
    loss, (embeddings, labels) = made(name), batch()
    value, figures = loss(embeddings, labels)
    expected, right = oracle(name, embeddings.numpy(), labels.tolist(), loss.W.detach().numpy())
    assert value.item() == pytest.approx(expected, rel=1e-6)
    assert figures["batch_accuracy"].item() == pytest.approx(right)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradients_are_the_librarys(name):
    ours = made(name)
    theirs = library.CosFaceLoss(CLASSES, SIZE, margin=0.2, scale=8) if name == "am_softmax" else \
        library.SubCenterArcFaceLoss(num_classes=CLASSES, embedding_size=SIZE, margin=math.degrees(0.5), scale=8,
                                     sub_centers=3)
    theirs.double().load_state_dict(ours.state_dict())
    embeddings, labels = batch(4, 6)
    found = []
    for loss in (ours, theirs):
        x = embeddings.clone().requires_grad_()
        value = loss(x, labels)
        value = value[0] if loss is ours else value
        value.backward()
        found.append([value.detach(), x.grad, loss.W.grad])
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients(name):
    check_gradients(made(name), *batch())


@pytest.mark.parametrize("name", LOSSES)
def test_an_embedding_on_its_proxy_has_a_gradient(name):
    """Where the angle is 0 its slope is infinite, and one such clip would end a run."""
    loss = made(name).float()
    x = torch.nn.functional.normalize(loss.W.detach().T[:1] * torch.ones(2, 1), dim=1).requires_grad_()
    loss(x, torch.tensor([0, 0]))[0].backward()
    assert x.grad.isfinite().all() and loss.W.grad.isfinite().all() and loss.W.grad.abs().sum() > 0


def test_proxies_begin_with_length_one():
    torch.manual_seed(0)
    lengths = AdditiveMarginSoftmax(500, 45, 0.2, 30.0).W.norm(dim=0)
    assert lengths.mean().item() == pytest.approx(1, abs=0.02) and lengths.std() < 0.2
