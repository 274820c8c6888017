"""Each clip against all others, as by the library's."""

import torch
from pytorch_metric_learning.losses import SupConLoss

from models.losses.supcon import SupervisedContrastive
from tests.models.losses.batches import batch


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
