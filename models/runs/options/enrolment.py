"""Flags of testing an encoder by words of a few enrolled clips, and by words that are held out as new."""

import argparse

from data.base.values import count, whole
from data.speech_commands.labels import COMMANDS
from models.runs.parser import Parser

# Tests that others report by name, as flags: ten command words against all others and silence (Rusci and Tuytelaars,
# 2023, arXiv:2306.02161).
PROTOCOLS = {"commands10": {"shots": [1, 5, 10], "repeats": 100, "unknown": [], "enroll": list(COMMANDS)}}


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
