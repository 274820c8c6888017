"""Flags of the loss, and which of them each loss takes."""

import argparse
import math

from data.base.errors import UserError
from data.base.values import count, positive

MINING = ("random", "hardest", "semihard")

# Each loss with the flags that it takes and their defaults, the sources' own; --loss_lr's is --lr.
LOSSES = {
    "triplet": {"margin": 0.5, "mining": "random"},
    "angular_prototypical": {"scale": 10.0, "loss_lr": None},
    "ge2e": {"scale": 10.0, "loss_lr": None},
    "am_softmax": {"margin": 0.2, "scale": 30.0, "loss_lr": None},
    "subcenter_arcface": {"margin": 0.5, "scale": 30.0, "sub_centres": 3, "loss_lr": None},
    "supcon": {"scale": 10.0},
    "multi_similarity": {},
}


def add_loss(group) -> None:
    group.add_argument("--loss", choices=tuple(LOSSES), default="triplet",
                       help="triplet: the paper's; angular_prototypical: each class's last clip against the means of "
                            "the others; ge2e: every clip against the classes' means without it; am_softmax, "
                            "subcenter_arcface: against learnt proxies of all classes; supcon: against all clips of "
                            "the batch; multi_similarity: its hard pairs (default: triplet)")
    group.add_argument("--margin", type=positive,
                       help="of squared distances, cosines or angles in radians (default: triplet 0.5, am_softmax 0.2, "
                            "subcenter_arcface 0.5)")
    group.add_argument("--mining", choices=MINING,
                       help="the negative of a triplet's pair, among those with positive loss: any, the nearest, or "
                            "any farther than the positive (default: random)")
    group.add_argument("--scale", type=positive,
                       help="what cosines are multiplied by before a softmax; angular_prototypical and ge2e begin with "
                            "it and learn it (default: 10, am_softmax and subcenter_arcface 30)")
    group.add_argument("--sub_centres", type=count, help="proxies a class of subcenter_arcface (default: 3)")
    group.add_argument("--loss_lr", type=positive,
                       help="highest learning rate of what a loss learns, its proxies or its scale; raise it where "
                            "there are many classes (default: --lr)")


def resolve_loss(args: argparse.Namespace) -> None:
    """Fill in the defaults of the chosen loss; after `resolve_recipe`.

    Raises:
        UserError: a flag that this loss does not take, or a value that makes no sense.
    """
    takes = LOSSES[args.loss]
    for flag in sorted({flag for flags in LOSSES.values() for flag in flags}):
        if flag not in takes and flag in args.given:
            others = ", ".join(name for name, flags in LOSSES.items() if flag in flags)
            raise UserError(f"--{flag} has no meaning with --loss {args.loss} (it is for {others}); leave it out")
        if getattr(args, flag) is None:
            setattr(args, flag, takes.get(flag))
    if "loss_lr" in takes:
        args.loss_lr = args.loss_lr or args.lr
        if args.lr_end > args.loss_lr:
            raise UserError(f"--loss_lr {args.loss_lr:g} is below --lr_end {args.lr_end:g}; the learning rate ends "
                            "below where it starts")
    if args.loss in ("angular_prototypical", "ge2e") and args.data_probs:
        raise UserError(f"--data_probs {args.data_probs} can draw a class twice for a batch, and --loss {args.loss} "
                        "would take the two for different words; leave one of the two out")
    if args.loss == "subcenter_arcface" and args.margin >= math.pi / 2:
        raise UserError(f"--margin {args.margin:g}: that of subcenter_arcface is an angle in radians, below pi / 2")
