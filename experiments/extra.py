"""Flags that a comparison hands on to the training scripts, `experiments.compare --extra`."""

import argparse
from collections.abc import Iterable

from data.base.errors import UserError
from experiments import cells
from experiments.cells import Cell

# What --extra cannot say, because the grid does: a result would have another name than its run's.
TAKEN = {"name": "--out", "manifest": "--manifest", "model": "--models", "recipe": "--recipe", "num_steps": "--steps",
         "num_epochs": "--epochs", "batch_classes": "--batch_classes", "per_class": "--per_class", "seed": "--seeds",
         "hidden_size": "--widths", "embedding_size": "--embedding_sizes", "data_probs": "--data_probs",
         "shares": "--shares", "loss": "--losses", "mining": "--mining", "margin": "--margins", "augment": "--augment",
         "eval": "--eval", "runs_dir": "--runs_dir", "registry": "--registry", "gpu": "--gpu",
         "cache_dir": "--cache_dir", "skip_bad_audio": "--skip_bad_audio", "k": "--ks"}
# Nor what the comparison sets itself, or its tests do not take: a name would promise what is not so.
OWN = ("eval_freq", "step_freq", "checkpoints_to_keep", "resume", "enc_name", "enc_step", "ties")


def one(text: str) -> str:
    """A FLAG=VALUE of --extra as the scripts take it. Raises ArgumentTypeError for what is not its to say."""
    name = cells.flag_name(text)
    if name in TAKEN:
        raise argparse.ArgumentTypeError(f"{text!r}: say it with {TAKEN[name]}")
    if name in OWN:
        raise argparse.ArgumentTypeError(f"{text!r}: the comparison sees to it, alike for all cells; leave it out, or "
                                         "run the scripts themselves")
    return f"--{text.lstrip('-')}"


def check_names(todo: Iterable[Cell], known: Iterable[dict]) -> None:
    """Raise UserError where two values of --extra make one name, as a/b and a_b: a result would be taken for both's.

    Args:
        known: results that are there.
    """
    named: dict[str, Cell] = {}
    for cell in [*(cells.from_dict(run["cell"]) for run in known), *todo]:
        if (other := named.setdefault(cell.name, cell)).extra != cell.extra:
            raise UserError(f"--extra {' '.join(cell.extra)}: its results would have the names of those with "
                            f"{' '.join(other.extra)}; give it another --out and --runs_dir")
