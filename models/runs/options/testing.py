"""Flags of tests: neighbours that vote, what is written, drawn and put on a page."""

from pathlib import Path

from data.base.values import count, megabytes, whole
from models.runs.parser import Parser


def add_test(parser: Parser, step: str = "the newest"):
    """What the two test scripts share. Returns the group. ``step`` is the encoder's that is tested by default."""
    group = parser.add_argument_group("test")
    group.add_argument("--enc_step", type=whole, help=f"step of the encoder's checkpoint (default: {step})")
    group.add_argument("--save", action="store_true",
                       help="also write embeddings, labels and predictions as .npy (default: off)")
    add_html(group, "what was taken for what, a map of the embeddings, and the mistakes to listen to, each beside the "
                    "nearest training clip")
    return group


def add_k(group, several: bool = False) -> None:
    """``several``: more than one number may be given."""
    group.add_argument("--k", type=count, **({"nargs": "+", "default": [5]} if several else {"default": 5}),
                       help="neighbours that vote" + ("; of several, the first has the full report" if several else "")
                            + " (default: 5)")
    group.add_argument("--ties", choices=("nearest", "lowest"), default="nearest",
                       help="which of the classes with equally many votes wins: the nearest neighbour's, or the first "
                            "label's, as in the original (default: nearest)")


def add_html(group, tested: str) -> None:
    """``tested``: what the page lets one hear the mistakes of."""
    group.add_argument("--html", type=Path, metavar="FILE",
                       help=f"also write one page that needs no network: the figures, {tested} (default: off)")
    group.add_argument("--html_mb", type=megabytes, default=5.0, metavar="MB",
                       help="the largest that it may become; what does not fit is left out (default: 5)")
