"""The losses by name. Each sees a whole batch of unit embeddings, and learns beside the encoder what it has to.

Called with embeddings (B, D) and classes (B,), they return the loss and figures for the log, all scalar tensors on the
embeddings' device, so that nothing waits for it. The triplet loss is `models.losses.triplet`.
"""

from argparse import Namespace

from torch import nn

from models.losses.angular_prototypical import AngularPrototypical
from models.losses.supcon import SupervisedContrastive


def make_loss(args: Namespace) -> nn.Module | None:
    """The loss of ``args.loss``, its flags resolved; None for the triplet loss, which learns nothing."""
    if args.loss == "angular_prototypical":
        return AngularPrototypical(args.per_class, args.scale)
    if args.loss == "supcon":
        return SupervisedContrastive(args.scale)
    if args.loss == "multi_similarity":  # its library takes two seconds to import
        from models.losses.multi_similarity import MultiSimilarity

        return MultiSimilarity()
    return None
