"""What a student learns from a teacher: directions and relations."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.losses.distillation import RELATIONS, Distillation

RNG = np.random.default_rng(0)


def taught(count=300, size=40, rank=6):
    """Embeddings (N, T) that differ in a few directions and in the one that they share."""
    parts = RNG.standard_normal((count, rank)) * np.linspace(2, 1, rank)
    found = parts @ np.linalg.qr(RNG.standard_normal((size, rank)))[0].T + RNG.standard_normal(size)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


@pytest.mark.parametrize("size", [7, 12, 60])
def test_targets_keep_the_teachers_cosines(size):
    """In as many numbers as the teacher's differ in, or more of them, those of the centred embeddings stay."""
    embeddings = taught()
    loss = Distillation(40, size)
    loss.settle(embeddings)
    centred = embeddings.astype(float) - embeddings.astype(float).mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    targets = loss.targets(torch.from_numpy(embeddings)).double().numpy()
    assert np.abs(targets @ targets.T - centred @ centred.T).max() < 0.02


def test_targets_are_turned_to_where_the_student_is():
    embeddings, loss = taught(), Distillation(40, 6)
    loss.settle(embeddings)
    turn = np.linalg.qr(RNG.standard_normal((6, 6)))[0].astype(np.float32)
    students = loss.targets(torch.from_numpy(embeddings)).numpy() @ turn
    rows = np.arange(0, 300, 3)
    loss.settle(embeddings, students[rows], rows)
    assert np.abs(loss.targets(torch.from_numpy(embeddings)).numpy() - students).max() < 1e-2


def test_the_loss_is_cosine_and_relations():
    embeddings, loss = torch.from_numpy(taught()), Distillation(40, 6)
    loss.settle(embeddings.numpy())
    targets = loss.targets(embeddings)
    perfect, figures = loss(targets, embeddings)
    assert abs(perfect) < 1e-5 and abs(figures["cosine"] - 1) < 1e-5
    turned, figures = loss(-targets, embeddings)  # the same relations, all directions wrong
    assert abs(turned - 2) < 1e-5 and figures["relations"] < 1e-9
    some = functional.normalize(torch.randn(300, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    found, _ = loss(some, embeddings)
    by_hand = sum((some[i] @ some[j] - targets[i] @ targets[j]) ** 2 for i in range(300) for j in range(300)) / 300**2
    assert abs(found - (1 - (some * targets).sum(1).mean() + RELATIONS * by_hand)) < 1e-4
