"""Hard pairs and their weights against the library's miner and loss."""

import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner

from models.losses.multi_similarity import MultiSimilarity, hard_pairs
from tests.models.losses.batches import batch


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
