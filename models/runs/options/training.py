"""Flags of the two training scripts about how a run begins, goes on, is looked at and is shared."""

from argparse import SUPPRESS

from data.base.values import count
from models.runs.parser import Parser

# Names in the log of what is looked at, with --eval new_words, and with --loss none.
NEW_WORDS, LIKE_TEACHER = "AUROC of new words", "cosine to the teacher"


def add_init(parser: Parser, when: str = "") -> None:
    add = parser.add_argument_group("fine-tuning").add_argument
    add("--init_from", metavar="RUN[:STEP]",
        help=f"begin with the weights of that run's encoder, or of a checkpoint's path{when}; its --model, width and "
             "clip length are taken over, and its convolutions alone where --parts, --embedding_size or --compression "
             "differ (default: off, random weights)")


def add_checkpoints(parser: Parser) -> None:
    add = parser.add_argument_group("checkpoints").add_argument
    add("--step_freq", type=count, default=100, help="steps between checkpoints (default: 100)")
    add("--eval_freq", type=count, default=50, help="steps between evaluations on the dev set (default: 50)")
    add("--checkpoints_to_keep", type=count, default=100, help="older ones are removed (default: 100)")
    add("--resume", action="store_true",
        help="go on from the newest checkpoint of --name, to the weights that an uninterrupted run reaches (default: "
             "off: a name that is taken is an error)")
    add("--eval_clips", type=count, default=2000,
        help="at most so many clips, spread over the classes, of train and of dev in an evaluation (default: 2000)")


def add_eval(parser: Parser) -> None:
    add = parser.add_argument_group("evaluation while training").add_argument
    add("--eval", choices=("dev", "new_words"), default="dev",
        help="what is looked at while training: accuracy on dev, or how well distances tell words that the data set "
             "holds out as new (data.libriwords --new_words), AUROC (default: dev)")


def add_parallel(parser: Parser) -> None:
    add = parser.add_argument_group(
        "several GPUs of one machine",
        "Start it by torchrun --nproc_per_node=GPUS: they share each batch and the evaluations.").add_argument
    add("--num_nodes", type=int, choices=(1,), help=SUPPRESS)  # the original's command lines have it
