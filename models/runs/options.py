"""The scripts' arguments: one name, one default, one help text each.

Imports nothing heavy, so that --help answers at once.
"""

import argparse
import math
from pathlib import Path

from data.base.errors import UserError
from data.speech_commands.labels import COMMANDS
from models.runs.parser import Parser
from models.runs.values import (
    clip_seconds,
    count,
    decibels,
    megabytes,
    not_negative,
    positive,
    probability,
    share,
    whole,
    width,
)

MODELS = ("Res8", "Res15", "Quartz", "BCRes1", "BCRes1.5", "BCRes2", "BCRes3", "BCRes6", "BCRes8")
MINING = ("random", "hardest", "semihard")
HTML_MB = 5.0  # megabytes of --html's page
ROOT = Path(__file__).resolve().parent.parent.parent

# Augmentations that are flags of a probability, none of which the original had.
CHANCES = {"reverb": 0.0, "babble": 0.0, "band_limit": 0.0, "gain": 0.0, "vtlp": 0.0}
# What --recipe sets where a flag does not: the original's training, and the one that learns most in little time.
RECIPES = {
    "paper": {"optimizer": "novograd", "schedule": "cosine", "lr": 1e-3, "lr_end": 8e-5, "weight_decay": 1e-3,
              "warmup": 0.05, "shift": False, "speed": False, **CHANCES, "num_epochs": 15, "per_class": 10},
    "fast": {"optimizer": "adamw", "schedule": "onecycle", "lr": 6e-3, "lr_end": 6e-6, "weight_decay": 1e-3,
             "warmup": 0.3, "shift": True, "speed": False, **CHANCES, "num_epochs": 3, "per_class": 4},
}
# What differs for the head: it converges in two epochs on a frozen encoder.
HEAD = {"lr_end": 1e-4, "num_epochs": 2, "shift": False, "speed": False}

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

# Tests that others report by name, as flags: ten command words against all others and silence (Rusci and Tuytelaars,
# 2023, arXiv:2306.02161).
PROTOCOLS = {
    "commands10": {"shots": [1, 5, 10], "repeats": 100, "unknown": [],
                   "enroll": list(COMMANDS)},
}

NEW_WORDS = "AUROC of new words"  # what a look with --eval new_words is called in the log


def add_run(parser: Parser, name_help: str) -> None:
    group = parser.add_argument_group("run")
    group.add_argument("--name", required=True, help=name_help)
    group.add_argument("--runs_dir", type=Path, default=Path("runs"), help="where runs lie (default: runs)")
    group.add_argument("--gpu", type=whole, default=0,
                       help="number of the GPU to use; without one, the CPU is used (default: 0)")


def add_data(parser: Parser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument("--manifest", required=True,
                       help="a name registered in manifests.json: 10, 100, 1000, 10000 (LibriWords), 12, 35 (Speech "
                            "Commands), demo (made on first use), or your own; several joined by +, as a+b, are one")
    group.add_argument("--registry", type=Path, default=ROOT / "manifests.json",
                       help="the file that --manifest names are looked up in (default: manifests.json beside the "
                            "scripts)")
    group.add_argument("--clip_seconds", type=clip_seconds,
                       help="length of a clip, 0.1 to 60: longer ones are cut around their centre, shorter ones "
                            "zero-padded (default: 1.0; a checkpoint's own where one is loaded)")
    group.add_argument("--cache_dir", type=Path, default=ROOT / "datasets" / "cache",
                       help="where decoded audio is kept for the next run (default: datasets/cache)")
    group.add_argument("--skip_bad_audio", action="store_true",
                       help="leave out clips that cannot be decoded or are silent, instead of stopping (default: off)")


def add_model(parser: Parser, fixed: bool = False) -> None:
    """``fixed``: the width always comes from a checkpoint."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", required=True, choices=MODELS, help="the encoder")
    group.add_argument("--hidden_size", type=width,
                       help="channels of Res8 and Res15, and size of the embedding (default: " + (
                           "the checkpoint's)" if fixed else "45; a checkpoint's own where one is loaded)"))
    group.add_argument("--embedding_size", type=width,
                       help="size of the embedding where it is to differ from the channels, by a linear projection "
                            "(default: --hidden_size; a checkpoint's own where one is loaded)")
    if not fixed:
        group.add_argument("--compression", choices=("log", "pcen"),
                           help="of the mel spectrogram: the logarithm, or per-channel energy normalisation, which "
                                "divides by each band's running mean (default: log; a checkpoint's own where one is "
                                "loaded)")


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


def add_init(parser: Parser, when: str = "") -> None:
    group = parser.add_argument_group("fine-tuning")
    group.add_argument("--init_from", metavar="RUN[:STEP]",
                       help=f"begin with the weights of that run's encoder, or of a checkpoint's path{when}; its "
                            "--model, width and clip length are taken over (default: off, random weights)")


def add_recipe(parser: Parser, changes: dict | None = None) -> None:
    """Flags of optimiser and schedule, with each recipe's value in the help."""
    def default(flag: str) -> str:
        return _default(flag, changes)

    group = parser.add_argument_group(
        "optimisation", "A recipe sets what is not given.\n"
        "  paper: the original's, NovoGrad and a cosine with warm-up\n"
        "  fast: AdamW and one cycle, with time shift; more accuracy in few steps")
    group.add_argument("--recipe", choices=tuple(RECIPES), default="paper", help="(default: paper)")
    group.add_argument("--optimizer", choices=("novograd", "adamw"), help=default("optimizer"))
    group.add_argument("--schedule", choices=("cosine", "onecycle"), help=default("schedule"))
    group.add_argument("--lr", type=positive, help=f"highest learning rate {default('lr')}")
    group.add_argument("--lr_end", type=positive, help=f"learning rate of the last step {default('lr_end')}")
    group.add_argument("--weight_decay", type=not_negative, help=default("weight_decay"))
    group.add_argument("--warmup", type=share, help=f"share of the steps to reach --lr {default('warmup')}")
    group.add_argument("--num_epochs", type=count, help=default("num_epochs"))
    group.add_argument("--num_steps", type=count,
                       help="train for so many steps, instead of --num_epochs; with "
                       "--resume more than before makes a run longer: its learning rates are stretched over all steps, "
                       "and its weights are not those of a run that was begun with so many (default: as many as the "
                       "epochs have)")
    group.add_argument("--seed", type=whole, default=0, help="of weights, batches, augmentation and mining "
                                                              "(default: 0)")
    group.add_argument("--precision", choices=("32", "bf16"),
                       help="arithmetic of the encoder in training (default: bf16 on a GPU that has it, 32 elsewhere)")
    group.add_argument("--compile", action="store_true",
                       help="compile the encoder by torch.compile: a minute at the start, for a faster step on some "
                            "machines (default: off)")


def add_augmentation(parser: Parser, changes: dict | None = None) -> None:
    group = parser.add_argument_group("augmentation", "In batches, on the device that trains.")
    group.add_argument("--augment", action="store_true",
                       help="shift each clip by up to 100 ms and add background noise, each with probability 0.8 "
                            "(default: off)")
    group.add_argument("--shift", action=argparse.BooleanOptionalAction,
                       help=f"the shift alone {_default('shift', changes)}; --augment includes it")
    group.add_argument("--speed", action=argparse.BooleanOptionalAction,
                       help=f"play each clip at 0.85 to 1.15 of its speed {_default('speed', changes)}")
    group.add_argument("--noise_snr", type=decibels, nargs=2, default=(5.0, 30.0), metavar=("LOW", "HIGH"),
                       help="range of signal-to-noise ratios of --augment, dB (default: 5 30)")
    group.add_argument("--noise_dir", type=Path,
                       help="folder of noise recordings for --augment (default: the data set's own, in manifests.json)")
    for flag, likely, what in (
            ("reverb", 0.5, "be heard in one of 200 simulated rooms, reverberation times of 0.1 to 0.6 s"),
            ("babble", 0.3, "have one to three clips of other classes of its batch talk in the background"),
            ("band_limit", 0.3, "lose low frequencies, high ones or both, as by cheap microphones and telephones"),
            ("gain", 0.5, "be made louder or quieter, saturating at full scale by at most 6 dB"),
            ("vtlp", 0.5, "have its frequencies warped by up to 15 %%, as another vocal tract would")):
        group.add_argument(f"--{flag}", type=probability, nargs="?", const=likely, metavar="P",
                           help=f"probability of a clip to {what} (default: off; without P: {likely:g})")
    group.add_argument("--babble_snr", type=decibels, nargs=2, default=(5.0, 20.0), metavar=("LOW", "HIGH"),
                       help="range of ratios of a clip to the voices of --babble, dB (default: 5 20)")
    group.add_argument("--gain_db", type=decibels, nargs=2, default=(-20.0, 10.0), metavar=("LOW", "HIGH"),
                       help="range of --gain, dB (default: -20 10)")
    group.add_argument("--spec_augment", nargs="?", choices=("full", "light"), const="full",
                       help="mask the spectrogram; full, or no value: 2 bands of up to 15 mels, 2 stretches of up to "
                            "25 frames, 5 rectangles of up to 15 x 25, the original's for Speech Commands; light: a "
                            "band of up to 10 mels and a stretch of up to 15 frames (default: off)")


def add_per_class(group, when: str = "") -> None:
    group.add_argument("--per_class", type=count, help=f"clips of each class{when} {_default('per_class', None)}")


def add_parallel(parser: Parser) -> None:
    group = parser.add_argument_group(
        "several GPUs", "Start it by torchrun --nproc_per_node=GPUS: they share each batch and the looks at dev.")
    group.add_argument("--num_nodes", type=count,
                       help="machines that train together, each with its own torchrun --nnodes=NUM_NODES; only checked "
                            "against it (default: what torchrun says, else 1)")


def add_checkpoints(parser: Parser) -> None:
    group = parser.add_argument_group("checkpoints")
    group.add_argument("--step_freq", type=count, default=100,
                       help="steps between checkpoints (default: 100)")
    group.add_argument("--eval_freq", type=count, default=50,
                       help="steps between looks at the dev set (default: 50)")
    group.add_argument("--checkpoints_to_keep", type=count, default=100, help="older ones are removed (default: 100)")
    group.add_argument("--resume", action="store_true",
                       help="go on from the newest checkpoint of --name, to the weights that an uninterrupted run "
                            "reaches (default: off: a name that is taken is an error)")
    group.add_argument("--eval_clips", type=count, default=2000,
                       help="at most so many clips, spread over the classes, of train and of dev at a look at the dev "
                            "set (default: 2000)")


def add_eval(parser: Parser) -> None:
    group = parser.add_argument_group("looks")
    group.add_argument("--eval", choices=("dev", "new_words"), default="dev",
                       help="what is looked at while training: dev, accuracy on the dev set; new_words, how well "
                            "distances tell words that the data set holds out as new (data.libriwords --new_words), "
                            "AUROC: with thousands of classes, accuracy on dev says little (default: dev)")


def add_k(group, several: bool = False) -> None:
    """``several``: more than one number may be given; `each_k` has them."""
    group.add_argument("--k", type=count, default=5, **({"nargs": "+"} if several else {}),
                       help="neighbours that vote" + ("; of several, the first has the full report" if several else "")
                            + " (default: 5)")
    group.add_argument("--ties", choices=("nearest", "lowest"), default="nearest",
                       help="which of the classes with equally many votes wins: the nearest neighbour's, or, as in the "
                            "original, the first label's (default: nearest)")


def each_k(args: argparse.Namespace) -> list[int]:
    """The numbers of neighbours of --k, each once, in the order given."""
    return list(dict.fromkeys(args.k if isinstance(args.k, list) else [args.k]))


def add_plot(group) -> None:
    group.add_argument("--plot", action="store_true",
                       help="also draw a map of the test clips' embeddings (t-SNE) and how far apart clips of the same "
                            "and of different words lie, and write TSV files for TensorBoard's embedding projector "
                            "(default: off)")


def add_html(group, tested: str) -> None:
    """``tested``: what the page lets one hear the mistakes of."""
    group.add_argument("--html", type=Path, metavar="FILE",
                       help=f"also write one page that needs no network: the figures, {tested} (default: off)")
    group.add_argument("--html_mb", type=megabytes, metavar="MB",
                       help="the largest that it may become; what does not fit is left out, and said (default: "
                            f"{HTML_MB:g})")


def add_test(parser: Parser):
    """What the two test scripts share. Returns the group, for more of its kind."""
    group = parser.add_argument_group("test")
    group.add_argument("--enc_step", type=whole, help="step of the encoder's checkpoint (default: the newest)")
    group.add_argument("--save", action="store_true",
                       help="also write embeddings, labels and predictions as .npy (default: off)")
    add_html(group, "what was taken for what, a map of the embeddings, and the mistakes to listen to, each beside the "
                    "nearest training clip")
    return group


def add_enrolment(parser: Parser) -> None:
    group = parser.add_argument_group(
        "new words", "Test with only a few training clips a class enrolled, instead of with all of them.")
    group.add_argument("--shots", type=count, nargs="+", metavar="N",
                       help="numbers of clips to enrol of each class (default: off: the k-nearest-neighbour test)")
    group.add_argument("--repeats", type=count, default=20, help="random draws of the enrolled clips (default: 20)")
    group.add_argument("--seed", type=whole, default=0, help="of the draws (default: 0)")
    group.add_argument("--enroll", nargs="+", metavar="LABEL",
                       help="the labels to enrol (default: all that are not --unknown)")
    group.add_argument("--unknown", nargs="*", metavar="LABEL",
                       help="labels that are never enrolled and whose test clips must be rejected; without LABEL, all "
                            "that --enroll does not name (default: none)")
    group.add_argument("--protocol", choices=tuple(PROTOCOLS),
                       help="a test that others report, in place of the flags above; commands10: the ten command words "
                            "of Speech Commands enrolled from 1, 5 and 10 clips, 100 draws, all other words and "
                            "silence to reject (data.speech_commands --silence makes such a set) (default: none)")
    group.add_argument("--new_words", action="store_true",
                       help="instead, report how well distances tell words that the data set holds out as new, as "
                            "--eval new_words looks at while training: AUROC and equal-error rate of pairs of clips "
                            "(default: off)")
    group.add_argument("--eval_clips", type=count, default=2000,
                       help="of --new_words: at most so many clips, spread over the words (default: 2000)")
    group.add_argument("--cohort", metavar="MANIFEST",
                       help="where there are unknown words, a data set whose training clips of other words all scores "
                            "are also normalised and embeddings whitened by (default: what the encoder was trained "
                            "on, if it is still there)")
    group.add_argument("--baselines", action="store_true",
                       help="compare with what needs no encoder, dynamic time warping of MFCCs and the cosine of "
                            "log-mel spectrograms; the former takes minutes (default: off)")


def check_enrolment(args: argparse.Namespace) -> None:
    """Sort --shots, fill in --protocol. Raises UserError for flags that have no meaning with these or without."""
    if args.new_words:
        for flag in ("shots", "protocol", "k", "ties", "plot", "save", "html"):
            if flag in args.given:
                raise UserError(f"--new_words is a test of its own, and --{flag} is about another; leave one of them "
                                "out")
    elif "eval_clips" in args.given:
        raise UserError("--eval_clips is about --new_words; add that, or leave --eval_clips out")
    if args.protocol:
        for flag, value in PROTOCOLS[args.protocol].items():
            if flag not in args.given:
                setattr(args, flag, value)
            elif flag in ("enroll", "unknown"):
                raise UserError(f"--protocol {args.protocol} says itself what --{flag} is; leave one of them out")
            elif getattr(args, flag) != value:
                print(f"--protocol {args.protocol} has --{flag} {_listed(value)}: figures with others are not those "
                      "that are reported elsewhere")
    if args.shots is None:
        for flag in ("repeats", "seed", "enroll", "unknown", "cohort", "baselines"):
            if flag in args.given:
                raise UserError(f"--{flag} is about enrolled words; say with --shots how many clips to enrol, or leave "
                                f"--{flag} out")
        return
    for flag in ("k", "ties"):
        if flag in args.given:
            raise UserError(f"--{flag} is about the k-nearest-neighbour test, --shots about enrolled words; leave one "
                            "of them out")
    if args.cohort and args.unknown is None:
        raise UserError("--cohort is about telling unknown words from enrolled ones; say with --unknown which are "
                        "unknown, or leave --cohort out")
    args.shots = sorted(set(args.shots))


def varied(args: argparse.Namespace) -> bool:
    """Whether a clip is another at every step."""
    return any(getattr(args, flag) for flag in ("augment", "shift", "speed", "spec_augment", *CHANCES))


def best_precision(device) -> str:
    """What is fast and safe on a torch device: bfloat16 on a GPU that computes in it."""
    import torch

    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "32"


def repeated(args: argparse.Namespace) -> list[str]:
    """The flags that a later script needs again to find the same run and data, as far as they were given."""
    return [f"--{flag}={getattr(args, flag)}" for flag in ("runs_dir", "registry", "cache_dir", "gpu")
            if flag in args.given] + (["--skip_bad_audio"] if args.skip_bad_audio else [])


def resolve_recipe(args: argparse.Namespace, changes: dict | None = None) -> None:
    """Fill in what the recipe sets and no flag did.

    Raises:
        UserError: values that contradict one another.
    """
    values = RECIPES[args.recipe] | (changes or {})
    values["shift"] |= args.augment
    for flag, value in values.items():
        if getattr(args, flag) is None:
            setattr(args, flag, value)
    if args.lr_end > args.lr:
        raise UserError(f"--lr_end {args.lr_end:g} is above --lr {args.lr:g}; the learning rate ends below where it "
                        "starts")
    for flag, of in (("noise_snr", "augment"), ("babble_snr", "babble"), ("gain_db", "gain")):
        low, high = getattr(args, flag)
        if low > high:
            raise UserError(f"--{flag} {low:g} {high:g}: give the lower one first")
        if flag in args.given and not getattr(args, of) and flag != "noise_snr":  # which runs were begun with
            raise UserError(f"--{flag} has no effect without --{of}; give that too, or leave --{flag} out")


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
    if args.loss == "subcenter_arcface" and args.margin >= math.pi / 2:
        raise UserError(f"--margin {args.margin:g}: that of subcenter_arcface is an angle in radians, below pi / 2")


def _listed(value) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _default(flag: str, changes: dict | None) -> str:
    recipes = f"paper {_said(RECIPES['paper'][flag])}, fast {_said(RECIPES['fast'][flag])}"
    if flag not in (changes or {}):
        return f"(default: {recipes})"
    return f"(default: {_said(changes[flag])} on a frozen encoder; from scratch {recipes})"


def _said(value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
