"""Flags of training: how a run goes on, the losses and what each takes, augmentation, and recipes for all this."""

import argparse
from pathlib import Path

from data.base.errors import UserError
from data.base.values import clip_seconds as seconds
from data.base.values import count, decibels, not_negative, positive, probability, share, whole
from models.runs.options.common import Parser

# Names in the log of what is looked at, with --eval new_words, and with --loss none.
NEW_WORDS, LIKE_TEACHER = "AUROC of new words", "cosine to the teacher"
MINING = ("random", "hardest", "semihard")

# Each loss with the flags that it takes and their defaults, the sources' own; --loss_lr's is --lr.
LOSSES = {
    "triplet": {"margin": 0.5, "mining": "random"},
    "angular_prototypical": {"scale": 10.0, "loss_lr": None},
    "supcon": {"scale": 10.0},
    "multi_similarity": {},
}
NONE = "none"  # of them: a teacher alone
# Augmentations that are flags of a probability, none of which the original had.
CHANCES = {"reverb": 0.0, "babble": 0.0, "band_limit": 0.0, "gain": 0.0, "vtlp": 0.0}
# What --recipe sets where a flag does not: the original's training, and the one that learns most in little time.
RECIPES = {
    "paper": {"optimizer": "novograd", "schedule": "cosine", "lr": 1e-3, "lr_end": 8e-5, "weight_decay": 1e-3,
              "warmup": 0.05, "shift": False, "speed": False, "noise_snr": (40.0, 50.0), **CHANCES, "num_epochs": 15,
              "per_class": 10},
    "fast": {"optimizer": "adamw", "schedule": "onecycle", "lr": 6e-3, "lr_end": 6e-6, "weight_decay": 1e-3,
             "warmup": 0.3, "shift": True, "speed": False, "noise_snr": (5.0, 30.0), **CHANCES, "num_epochs": 3,
             "per_class": 4},
}
# What differs for the head: it converges in two epochs on a frozen encoder.
HEAD = {"lr_end": 1e-4, "num_epochs": 2, "shift": False, "speed": False}


def add_init(parser: Parser, when: str = "") -> None:
    add = parser.add_argument_group("fine-tuning").add_argument
    add("--init_from", metavar="RUN[:STEP]",
        help=f"begin with the weights of that run's encoder, or of a checkpoint's path{when}; its --model, width and "
             "clip length are taken over, and its convolutions alone where --parts, --embedding_size or --compression "
             "differ (default: off, random weights)")


def add_course(parser: Parser, chooses: bool = False) -> None:
    """Flags of checkpoints, of evaluations, where one ``chooses`` what is looked at, and of several GPUs."""
    add = parser.add_argument_group("checkpoints").add_argument
    add("--step_freq", type=count, default=100, help="steps between checkpoints (default: 100)")
    add("--eval_freq", type=count, default=50, help="steps between evaluations on the dev set (default: 50)")
    add("--checkpoints_to_keep", type=count, default=100, help="older ones are removed (default: 100)")
    add("--resume", action="store_true",
        help="go on from the newest checkpoint of --name, to the weights that an uninterrupted run reaches (default: "
             "off: a name that is taken is an error)")
    add("--eval_clips", type=count, default=2000,
        help="at most so many clips, spread over the classes, of train and of dev in an evaluation (default: 2000)")
    if chooses:
        parser.add_argument_group("evaluation while training").add_argument(
            "--eval", choices=("dev", "new_words"), default="dev",
            help="what is looked at while training: accuracy on dev, or how well distances tell words that the data "
                 "set holds out as new (data.libriwords --new_words), AUROC (default: dev)")
    add = parser.add_argument_group(
        "several GPUs of one machine",
        "Start it by torchrun --nproc_per_node=GPUS: they share each batch and the evaluations.").add_argument
    add("--num_nodes", type=int, choices=(1,), help=argparse.SUPPRESS)  # the original's command lines have it


def add_loss(parser: Parser, group) -> None:
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


def add_recipe(parser: Parser, changes: dict | None = None) -> None:
    """Flags of optimiser and schedule, with each recipe's value in the help."""
    add = parser.add_argument_group(
        "optimisation", "A recipe sets what is not given.\n"
        "  paper: the original's, NovoGrad and a cosine with warm-up; on Speech Commands with masks\n"
        "  fast: AdamW and one cycle, with time shift; more accuracy in few steps").add_argument
    add("--recipe", choices=tuple(RECIPES), default="paper", help="(default: paper)")
    for flag, how, what in (
            ("optimizer", {"choices": ("novograd", "adamw")}, ""),
            ("schedule", {"choices": ("cosine", "onecycle")}, ""),
            ("lr", {"type": positive}, "highest learning rate "),
            ("lr_end", {"type": positive}, "learning rate of the last step "),
            ("weight_decay", {"type": not_negative}, ""),
            ("warmup", {"type": share}, "share of the steps to reach --lr "), ("num_epochs", {"type": count}, "")):
        add(f"--{flag}", **how, help=what + _default(flag, changes))
    add("--num_steps", type=count,
        help="train for so many steps, instead of --num_epochs; with --resume more than before makes a run longer, its "
             "learning rates stretched over all steps (default: as the epochs have)")
    add("--seed", type=whole, default=0, help="of weights, batches, augmentation, mining (default: 0)")
    add("--precision", choices=("32", "bf16"),
        help="arithmetic of the encoder in training: 32 is full float32, never TF32, which tests have in any case "
             "(default: bf16 on a GPU that has it, 32 elsewhere)")
    add("--compile", action="store_true",
        help="compile the encoder by torch.compile, for a faster step on some machines (default: off)")
    add("--graph", action="store_true",
        help="on one GPU, record the step as a CUDA graph, which one call starts instead of hundreds; not measured on "
             "a GPU yet (default: off)")


def add_augmentation(parser: Parser, changes: dict | None = None) -> None:
    add = parser.add_argument_group("augmentation", "In batches, on the device that trains.").add_argument
    add("--augment", action="store_true",
        help="shift each clip by up to 100 ms and add background noise, each with probability 0.8 (default: off)")
    add("--shift", action=argparse.BooleanOptionalAction,
        help=f"the shift alone {_default('shift', changes)}; --augment includes it")
    add("--speed", action=argparse.BooleanOptionalAction,
        help=f"play each clip at 0.85 to 1.15 of its speed {_default('speed', changes)}")
    add("--noise_snr", type=decibels, nargs=2, metavar=("LOW", "HIGH"),
        help=f"range of signal-to-noise ratios of --augment, dB {_default('noise_snr', None)}")
    add("--noise_dir", type=Path,
        help="folder of noise recordings for --augment (default: the data set's own, in manifests.json)")
    for flag, likely, what in (
            ("reverb", 0.5, "be heard in one of 200 simulated rooms"),
            ("babble", 0.3, "have one to three clips of other classes of its batch talk in the background"),
            ("band_limit", 0.3, "lose low frequencies, high ones or both, as by cheap microphones and telephones"),
            ("gain", 0.5, "be made louder or quieter, saturating at full scale by at most 6 dB"),
            ("vtlp", 0.5, "have its frequencies warped by up to 15 %%, as another vocal tract would")):
        add(f"--{flag}", type=probability, nargs="?", const=likely, metavar="P",
            help=f"probability of a clip to {what} (default: off; without P: {likely:g})")
    add("--rt60", type=seconds, nargs=2, default=(0.1, 0.6), metavar=("LOW", "HIGH"),
        help="range of reverberation times of simulated rooms, seconds; above 0.6 rooms get larger, up to halls "
             "(default: 0.1 0.6)")
    add("--rooms", type=Path, metavar="DIR",
        help="recordings of room responses that --reverb takes in place of simulated rooms (default: simulated)")
    add("--babble_snr", type=decibels, nargs=2, default=(5.0, 20.0), metavar=("LOW", "HIGH"),
        help="range of ratios of a clip to the voices of --babble, dB (default: 5 20)")
    add("--gain_db", type=decibels, nargs=2, default=(-20.0, 10.0), metavar=("LOW", "HIGH"),
        help="range of --gain, dB (default: -20 10)")
    add("--spec_augment", nargs="?", choices=("full", "light", "off"), const="full",
        help="mask the spectrogram; full, or no value: 2 bands of up to 15 mels, 2 stretches of up to 25 frames, 5 "
             "rectangles of up to 15 x 25; light: a band of up to 10 mels and a stretch of up to 15 frames (default: "
             "paper full on Speech Commands, else off)")


def add_per_class(group, when: str = "") -> None:
    group.add_argument("--per_class", type=count, help=f"clips of each class{when} {_default('per_class', None)}")


def varied(args: argparse.Namespace) -> bool:
    """Whether a clip is another at every step."""
    return args.spec_augment != "off" or any(getattr(args, flag) for flag in ("augment", "shift", "speed", *CHANCES))


def best_precision(device) -> str:
    """What is fast and safe on a torch device: bfloat16 on a GPU that computes in it."""
    import torch

    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "32"


def resolve_masks(args: argparse.Namespace, speech_commands: bool) -> None:
    """Fill in --spec_augment: the original masks all its trainings on Speech Commands, and no others."""
    if args.spec_augment is None:
        args.spec_augment = "full" if args.recipe == "paper" and speech_commands else "off"


def resolve_recipe(args: argparse.Namespace, changes: dict | None = None) -> None:
    """Fill in what the recipe sets and no flag did. Raises UserError for values that contradict one another."""
    values = RECIPES[args.recipe] | (changes or {})
    values["shift"] |= args.augment
    for flag, value in values.items():
        if getattr(args, flag) is None:
            setattr(args, flag, value)
    if args.lr_end > args.lr:
        raise UserError(f"--lr_end {args.lr_end:g} is above --lr {args.lr:g}; the learning rate ends below where it "
                        "starts")
    for flag in ("noise_snr", "babble_snr", "gain_db", "rt60"):
        low, high = getattr(args, flag)
        if low > high:
            raise UserError(f"--{flag} {low:g} {high:g}: give the lower one first")


def _default(flag: str, changes: dict | None) -> str:
    recipes = f"paper {_text(RECIPES['paper'][flag])}, fast {_text(RECIPES['fast'][flag])}"
    if flag not in (changes or {}):
        return f"(default: {recipes})"
    return f"(default: {_text(changes[flag])} on a frozen encoder; from scratch {recipes})"


def _text(value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " to ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
