"""Losses that hold a batch against learnt proxies of all classes, by pytorch-metric-learning.

Its own step makes the host wait for a GPU, to find each clip's class among the cosines; the formulas are its, the step
is not. A test holds the two together.
"""

import math

import torch
from pytorch_metric_learning.losses import CosFaceLoss, SubCenterArcFaceLoss
from torch.nn import functional

from models.losses import figures

CLOSEST = 1 - 1e-6  # cosine that counts as an angle of 0, at which its slope is infinite


class _Softmax:
    """A step of the library's large-margin softmax losses."""

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, dict]:
        """(B, D) and (B,) to the loss and its figures."""
        cosines = self.get_cosine(embeddings)  # (B, C)
        own = labels[:, None]
        harder = self.modify_cosine_of_target_classes(cosines.gather(1, own))  # (B, 1)
        loss = functional.cross_entropy(self.scale_logits(cosines.scatter(1, own, harder), embeddings), labels)
        return loss, {"loss": loss.detach(), "batch_accuracy": figures.own_share(cosines.argmax(1), labels)} \
            | figures.distances(embeddings, labels)


class AdditiveMarginSoftmax(_Softmax, CosFaceLoss):
    """Softmax over cosines, that of the true class lowered by a margin (Wang et al., 2018, arXiv:1801.05599).

    Args:
        classes: C, of the whole data set.
        width: the embeddings' size D.
        margin: off the cosine.
        scale: of the cosines before the softmax.
    """

    def __init__(self, classes: int, width: int, margin: float, scale: float):
        super().__init__(num_classes=classes, embedding_size=width, margin=margin, scale=scale,
                         weight_init_func=unit_proxies)


class SubcentreArcFace(_Softmax, SubCenterArcFaceLoss):
    """Softmax over cosines to each class's nearest proxy of several, a margin added to the true class's angle.

    Deng et al., 2020 (ECCV, "Sub-center ArcFace"): mislabelled clips and other ways to say a word get a proxy of their
    own.

    Args:
        classes: C, of the whole data set.
        width: the embeddings' size D.
        margin: on the angle, radians.
        scale: of the cosines before the softmax.
        sub_centres: proxies a class.
    """

    def __init__(self, classes: int, width: int, margin: float, scale: float, sub_centres: int):
        super().__init__(num_classes=classes, embedding_size=width, margin=math.degrees(margin), scale=scale,
                         sub_centers=sub_centres, weight_init_func=unit_proxies)

    def get_angles(self, cosines: torch.Tensor) -> torch.Tensor:
        return cosines.clamp(-CLOSEST, CLOSEST).acos()


def unit_proxies(weight: torch.Tensor) -> None:
    """Fill (D, C) with random directions of length about 1.

    The library's are about the root of D long, and a step of the same size turns those less.
    """
    torch.nn.init.normal_(weight, std=len(weight) ** -0.5)
