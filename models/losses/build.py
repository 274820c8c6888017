"""The losses by name. Each sees a whole batch of unit embeddings, and learns beside the encoder what it has to.

Called with embeddings (B, D) and classes (B,), they return the loss and figures for the log, all scalar tensors on the
embeddings' device, so that nothing waits for it. The triplet loss is `models.losses.triplet`.
"""

from argparse import Namespace

from torch import nn


def make_loss(args: Namespace, classes: int) -> nn.Module | None:
    """The loss of ``args.loss``, its flags resolved; None for the triplet loss, which learns nothing.

    Args:
        classes: in the whole data set, for a loss that has proxies of them.
    """
    if args.loss == "angular_prototypical":
        from models.losses.angular_prototypical import AngularPrototypical

        return AngularPrototypical(args.per_class, args.scale)
    if args.loss == "ge2e":
        from models.losses.ge2e import GE2E

        return GE2E(args.per_class, args.scale)
    if args.loss == "am_softmax":  # the library takes two seconds to import, so not before it is wanted
        from models.losses.proxies import AdditiveMarginSoftmax

        return AdditiveMarginSoftmax(classes, args.embedding_size, args.margin, args.scale)
    if args.loss == "subcenter_arcface":
        from models.losses.proxies import SubcentreArcFace

        return SubcentreArcFace(classes, args.embedding_size, args.margin, args.scale, args.sub_centres)
    if args.loss == "supcon":
        from models.losses.supcon import SupervisedContrastive

        return SupervisedContrastive(args.scale)
    if args.loss == "multi_similarity":
        from models.losses.multi_similarity import MultiSimilarity

        return MultiSimilarity()
    return None
