"""Flags of the loss, and which of them each loss takes."""

import argparse

from data.base.errors import UserError
from data.base.values import positive

MINING = ("random", "hardest", "semihard")

# Each loss with the flags that it takes and their defaults, the sources' own; --loss_lr's is --lr.
LOSSES = {
    "triplet": {"margin": 0.5, "mining": "random"},
    "angular_prototypical": {"scale": 10.0, "loss_lr": None},
    "supcon": {"scale": 10.0},
    "multi_similarity": {},
}
NONE = "none"  # of them: a teacher alone


def add_loss(group) -> None:
    group.add_argument("--loss", choices=(*LOSSES, NONE), default="triplet",
                       help="angular_prototypical: each class's last clip against the means of the others; supcon: "
                            "every clip against all of the batch; multi_similarity: hard pairs; none: what the "
                            "--teacher says alone, without labels (default: triplet)")
    group.add_argument("--margin", type=positive, help="of the triplet loss, on squared distances (default: 0.5)")
    group.add_argument("--mining", choices=MINING,
                       help="the negative of a triplet's pair, among those with positive loss: any, the nearest, or "
                            "any farther than the positive (default: random)")
    group.add_argument("--scale", type=positive,
                       help="what cosines are multiplied by before a softmax; angular_prototypical begins with it and "
                            "learns it (default: 10)")
    group.add_argument("--loss_lr", type=positive,
                       help="highest learning rate of the scale that angular_prototypical learns (default: --lr)")


def add_teacher(parser) -> None:
    group = parser.add_argument_group("teacher", "A large encoder, whose embeddings of the same clips are learnt, too.")
    group.add_argument("--teacher", metavar="NAME|FILE.onnx",
                       help="efficientword-net or openwakeword, packages that carry a model (pip install --no-deps "
                            "efficientword-net==1.0.5), or an ONNX file from waveforms to embeddings (default: none)")
    group.add_argument("--teacher_weight", type=positive, metavar="W",
                       help="of what the teacher says, beside the --loss of 1 (default: 1)")


def resolve_loss(args: argparse.Namespace) -> None:
    """Fill in the defaults of the chosen loss; after `resolve_recipe`. Raises UserError for what it cannot do."""
    if args.loss == NONE and (not args.teacher or args.shares or args.data_probs):
        raise UserError("--loss none: learns from a --teacher alone, and from clips at random: name one, and leave "
                        "--shares and --data_probs out")
    args.teacher_weight = args.teacher_weight or 1.0
    takes = LOSSES.get(args.loss, {})
    for flag in {flag for flags in LOSSES.values() for flag in flags}:
        if getattr(args, flag) is None:
            setattr(args, flag, takes.get(flag))
    if "loss_lr" in takes:
        args.loss_lr = args.loss_lr or args.lr
    if args.loss == "angular_prototypical" and args.data_probs:
        raise UserError(f"--data_probs {args.data_probs} can draw a class twice for a batch, and --loss {args.loss} "
                        "would take the two for different words; leave one of the two out")
