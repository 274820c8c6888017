"""Flags of tests: neighbours that vote, what is written, drawn and put on a page; words that are enrolled or new."""

import argparse
from pathlib import Path

from data.base.labels import COMMANDS
from data.base.values import count, megabytes, whole
from models.runs.options.common import Parser

# Tests that others report by name, as flags: ten command words against all others and silence (Rusci and Tuytelaars,
# 2023, arXiv:2306.02161).
PROTOCOLS = {"commands10": {"shots": [1, 5, 10], "repeats": 100, "unknown": [], "enroll": list(COMMANDS)}}


def add_test(parser: Parser, step: str = "the newest"):
    """What the two test scripts share. Returns the group. ``step`` is the encoder's that is tested by default."""
    group = parser.add_argument_group("test")
    group.add_argument("--enc_step", type=whole, help=f"step of the encoder's checkpoint (default: {step})")
    group.add_argument("--save", action="store_true",
                       help="also write embeddings, labels and predictions as .npy (default: off)")
    group.add_argument("--html", type=Path, metavar="FILE",
                       help="also write one page that needs no network: the figures, what was taken for what, a map of "
                            "the embeddings, and the mistakes to listen to, each beside the nearest training clip "
                            "(default: off)")
    group.add_argument("--html_mb", type=megabytes, default=5.0, metavar="MB",
                       help="the largest that it may become; what does not fit is left out (default: 5)")
    return group


def add_k(group, several: bool = False) -> None:
    """``several``: more than one number may be given."""
    group.add_argument("--k", type=count, **({"nargs": "+", "default": [5]} if several else {"default": 5}),
                       help="neighbours that vote" + ("; of several, the first has the full report" if several else "")
                            + " (default: 5)")
    group.add_argument("--ties", choices=("nearest", "lowest"), default="nearest",
                       help="which of the classes with equally many votes wins: the nearest neighbour's, or the first "
                            "label's, as in the original (default: nearest)")


def add_enrolment(parser: Parser) -> None:
    add = parser.add_argument_group(
        "new words", "Test with only a few training clips a class enrolled, instead of with all of them.").add_argument
    add("--shots", type=count, nargs="+", metavar="N",
        help="numbers of clips to enrol of each class (default: off: the k-nearest-neighbour test)")
    add("--repeats", type=count, default=20, help="random draws of the enrolled clips (default: 20)")
    add("--seed", type=whole, default=0, help="of the draws (default: 0)")
    add("--enroll", nargs="+", metavar="LABEL", help="the labels to enrol (default: all that are not --unknown)")
    add("--unknown", nargs="*", metavar="LABEL",
        help="labels that are never enrolled and whose test clips must be rejected; without LABEL, all that --enroll "
             "does not name (default: none)")
    add("--protocol", choices=tuple(PROTOCOLS),
        help="a test that others report, in place of the flags above; commands10: ten command words enrolled from 1, 5 "
             "and 10 clips, 100 draws, all other words and silence to reject, of a set that data.speech_commands "
             "--silence makes (default: none)")
    add("--new_words", action="store_true",
        help="instead, report how well distances tell words that the data set holds out as new: AUROC and equal-error "
             "rate of pairs of clips (default: off)")
    add("--eval_clips", type=count, default=2000,
        help="of --new_words: at most so many clips, spread over the words (default: 2000)")
    add("--cohort", metavar="MANIFEST",
        help="where there are unknown words, a data set whose training clips of other words all scores are also "
             "normalised and embeddings whitened by (default: the cohort kept beside the encoder, or else what it was "
             "trained on, if that is still there)")


def check_enrolment(args: argparse.Namespace) -> None:
    """Fill in what --protocol sets, and sort --shots."""
    for flag, value in PROTOCOLS.get(args.protocol, {}).items():
        if flag not in args.given:
            setattr(args, flag, value)
        elif getattr(args, flag) != value:
            print(f"--protocol {args.protocol} is with other --{flag}: these figures are not those of the protocol")
    args.shots = args.shots and sorted(set(args.shots))
