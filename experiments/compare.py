"""Train encoders by losses of their own and by cross-entropy on equal budgets, several seeds each, and compare them.

Every cell of the grid is run by the scripts, under --runs_dir; one whose result is in --out/compare.json is not run
again, unless the data have changed since, and one that was interrupted goes on. All methods get the same number of
steps with the same number of clips, and the same augmentation; "head" trains on the encoder of "knn", which costs its
steps once more, and "shots" tests that encoder on words that it never heard.
"""

import argparse
import hashlib
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from data.base.errors import UserError, exit_cleanly
from data.base.files import CACHE, ROOT, write_atomically
from data.base.labels import folded
from data.base.values import count, positive, whole, width
from data.manifests.corpus import Corpus, load_corpus, parts_of
from data.manifests.manifest import write_manifest
from data.manifests.registry import SPLITS, register, registered
from experiments import cells, loop, summary
from models.enrolment.enrol import check_clips, choose_words
from models.runs import session
from models.runs.options.common import MODELS
from models.runs.options.training import LOSSES, MINING, RECIPES

# What --extra cannot say, since a flag of the comparison does, or it sees to it alike for all cells.
TAKEN = {"name", "manifest", "model", "recipe", "num_steps", "num_epochs", "batch_classes", "per_class", "seed", "ties",
         "hidden_size", "data_probs", "shares", "loss", "mining", "margin", "augment", "eval", "runs_dir", "registry",
         "gpu", "cache_dir", "skip_bad_audio", "precision", "k", "eval_freq", "step_freq", "checkpoints_to_keep",
         "resume", "enc_name", "enc_step"}


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.compare", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    group = parser.add_argument_group(
        "grid", "Every combination that makes sense is run: a loss has no cells for the --mining and --margins that it "
                "does not take, and cross-entropy one for all --losses and these, --data_probs and --shares.")
    group.add_argument("--manifest", help="a name registered in manifests.json, or several joined by +", required=True)
    several(group, "--models", "encoders", ["Res8"], choices=MODELS)
    several(group, "--methods", "ce: cross-entropy; knn: the encoder's loss and nearest neighbours; head: the same "
            "encoder and a softmax head; shots: the same encoder on new words", ["ce", "knn"], choices=cells.METHODS)
    several(group, "--losses", "of the encoder", ["triplet"], choices=tuple(LOSSES))
    several(group, "--steps", "of every training (default: 480, or what --epochs says)", type=count)
    several(group, "--epochs", "as many epochs' worth of steps, of all clips whatever the --fractions", type=count)
    several(group, "--seeds", "of weights and batches", [0, 1, 2], type=whole)
    several(group, "--augment", "noise and time shift, or what the recipe has", ["off"], choices=("on", "off"))
    several(group, "--data_probs", "how a batch's classes are drawn", [0], type=int, choices=range(7))
    several(group, "--mining", "of the triplet loss", ["random"], choices=MINING)
    several(group, "--margins", "of the losses that have one (default: each loss's own)", [None], type=positive)
    several(group, "--widths", "channels of Res8 and Res15, and size of the embedding", [45], type=width)
    several(group, "--fractions", "shares of each class's training clips, as 0.1 or 1/6", [1.0], type=_fraction)
    several(group, "--ks", "numbers of neighbours to vote; the main table is of 5", [5], type=count)
    group = parser.add_argument_group("all cells")
    one(group, "--recipe", "of the training", "fast", choices=tuple(RECIPES))
    one(group, "--batch_classes", "classes in a batch, at most", 35, type=count)
    one(group, "--per_class", "clips of each", 10, type=count)
    several(group, "--shares", "with --manifest a+b: of a batch's classes (default: all words alike)", type=positive)
    one(group, "--eval", "what encoders are looked at with while they are trained", "dev", choices=("dev", "new_words"))
    several(group, "--extra", "further flags of the training scripts and losses, as lr=1e-3", [], type=_extra,
            metavar="FLAG=VALUE")
    group = parser.add_argument_group("words never heard", "How --methods shots enrols, as in infer_train.py.")
    group.add_argument("--shots_manifest", help="the registered data set that has these words", metavar="MANIFEST")
    several(group, "--shots", "numbers of clips to enrol of each", [1, 5, 10], type=count, metavar="N")
    one(group, "--repeats", "random draws of them", 30, type=count)
    several(group, "--enroll", "words (default: all that are not --unknown)", metavar="LABEL")
    group.add_argument("--unknown", nargs="*", metavar="LABEL",
                       help="words to reject; without LABEL, all that --enroll does not name (default: none)")
    group = parser.add_argument_group("where and how")
    one(group, "--out", "gets compare.json and compare.md (default: RUNS_DIR/MANIFEST)", type=Path)
    one(group, "--runs_dir", "gets the runs", Path("runs/compare"), type=Path)
    group.add_argument("--dry_run", help="print the cells that are to be run, and run none", action="store_true")
    one(group, "--gpu", "number of the GPU, if there is one", 0, type=whole)
    one(group, "--precision", "as in the training scripts", choices=("32", "bf16"))
    one(group, "--registry", "of the data sets", ROOT / "manifests.json", type=Path)
    one(group, "--cache_dir", "of decoded audio", CACHE, type=Path)
    group.add_argument("--skip_bad_audio", help="as in the scripts", action="store_true")
    args = parser.parse_args(argv)
    args.out = args.out or args.runs_dir / args.manifest
    if ("shots" in args.methods) != bool(args.shots_manifest):
        parser.error("--methods shots and --shots_manifest, the data set that has the words to enrol, go together")
    return args


def one(group, flag: str, text: str, default=None, **how) -> None:
    """A flag and its text, with the default in it if there is one."""
    values = default if isinstance(default, list) else [default]
    usual = "" if values in ([], [None]) else f" (default: {' '.join(map(str, values))})"
    group.add_argument(flag, default=default, help=text + usual, **how)


several = partial(one, nargs="+")


def _fraction(text: str) -> float:
    value = float(Fraction(text))
    if not 0 < value <= 1:
        raise ValueError
    return value


def _extra(text: str) -> str:
    if cells.flag_name(text) in TAKEN:
        raise argparse.ArgumentTypeError(f"{text!r}: the comparison has its own flag for it, or sets it for all cells")
    return f"--{text.lstrip('-')}"


def main(args: argparse.Namespace) -> int:
    # The cells.
    corpus = session.open_corpus(args, SPLITS)
    enrolling = protocol_of(args, corpus) if args.shots_manifest else None
    classes = min(args.batch_classes, len(corpus.labels))
    epoch = max(1, len(corpus.splits["train"]) // (classes * args.per_class))
    steps = {*(args.steps or ()), *(epochs * epoch for epochs in args.epochs or ())} or {480}
    todo = cells.grid(
        args.methods, steps=sorted(steps), seed=args.seeds, model=args.models, manifest=[args.manifest],
        loss=args.losses, data_probs=args.data_probs, mining=args.mining, margin=args.margins, width=args.widths,
        augment=[value == "on" for value in args.augment], fraction=args.fractions, recipe=[args.recipe],
        batch_classes=[classes], per_class=[args.per_class], extra=[tuple(args.extra)],
        shares=[tuple(args.shares or ())], words=[loop.protocol_name(enrolling) if enrolling else ""])

    # What is known of them, of the same data and arguments.
    data, path = loop.Data.of(args), args.out / "compare.json"
    known, others = results_of(args, data)
    if others:
        print(f"{path}: {others} results are of other data than --manifest {args.manifest} has now", flush=True)
    for cell in (cell for cell in todo if cell.name in known):
        if differ := loop.other_arguments(cell, known[cell.name], args.precision):
            raise UserError(f"{path}: {cell.name} was trained with other arguments ({' '.join(differ)}); name another "
                            "--out and --runs_dir")
    missing = [cell for cell in todo if cell.name not in known]
    print(f"{len(todo)} cells, {len(missing)} to run", flush=True)
    if args.dry_run:
        print(*(cell.name for cell in missing), sep="\n")
        return 0

    # The loop, and the tables.
    for fraction in {cell.fraction for cell in missing} - {1.0}:
        make_fraction(args.manifest, fraction, args.registry, args.runs_dir)
    try:
        problems = loop.Loop(args, data, enrolling).run(missing)
    finally:
        if found := list(results_of(args, data)[0].values()):
            print(f"\n{tables(found)}")
            with write_atomically(args.out / "compare.md") as file:
                file.write(tables(found))
            print(f"wrote {path} and compare.md")
    if problems:
        raise UserError(f"{len(problems)} of {len(missing)} cells failed, the first: {problems[0]}")
    return 0


def results_of(args: argparse.Namespace, data: loop.Data) -> tuple[dict[str, dict], int]:
    """The known results of --manifest and its data, by name, and how many there are of other data."""
    runs = [run for run in loop.read(args.out / "compare.json").values() if run["cell"]["manifest"] == args.manifest]
    known = {run["name"]: run for run in runs if data.has(run)}
    return known, len(runs) - len(known)


def protocol_of(args: argparse.Namespace, trained: Corpus) -> dict:
    """How words that no encoder heard are enrolled: labels to ``enroll`` and ``unknown`` of ``manifest``; ``shots``
    clips of each, in ``repeats`` random draws; a hash of the clips; ``cohort`` None, for scores are normalised by the
    encoder's training. Raises UserError: too few clips of a word, or one that the encoders learn from ``trained``."""
    corpus = load_corpus(args.shots_manifest, ("train", "test"), args.registry)
    chosen = choose_words(corpus.labels, args.enroll, args.unknown, args.shots_manifest)
    check_clips(corpus.splits["train"], corpus.splits["test"], *chosen, max(args.shots))
    enroll, unknown = ([corpus.labels[c] for c in classes] for classes in chosen)
    heard = {folded(label) for label in trained.labels}
    if known := [label for label in enroll if folded(label) in heard]:
        raise UserError(f"--enroll: the encoders hear {', '.join(sorted(known))} in the training of --manifest "
                        f"{args.manifest}; enrol words that they never heard")
    return {"manifest": args.shots_manifest, "enroll": enroll, "unknown": unknown, "shots": sorted({*args.shots}),
            "repeats": args.repeats, "cohort": None,
            "content": hashlib.sha1(loop.content_of(corpus.splits).encode()).hexdigest()}


def make_fraction(manifest: str, fraction: float, registry: Path, folder: Path) -> None:
    """Register ``<manifest>-<fraction>``, of joined sets each, in ``folder/manifests.json``: dev and test as they are,
    of a class's training clips the first of a fixed random order, at least two, so a smaller share lies in a larger."""
    for part in parts_of(manifest, registry):
        corpus, entry, kept = load_corpus(part, registry=registry), registered(part, registry), []
        train = corpus.splits["train"]
        for c, clips in enumerate(train.counts()):
            order = np.random.default_rng([0, c]).permutation(np.flatnonzero(train.label == c))
            kept.extend(order[:max(2, round(fraction * clips))])
        name = "+".join(f"{word}-{fraction:g}" for word in part.split("+"))  # as `experiments.cells.Cell.data`
        path = folder / "manifests" / f"{name}-train.json"
        write_manifest(path, (train[i] for i in sorted(kept)))
        here = {key: Path(registry).absolute().parent / entry[key] for key in ("dev", "test", "new_words")
                if key in entry}
        register(name, train=path, noise=corpus.noise, registry=folder / "manifests.json", **here)


def tables(runs: list[dict]) -> str:
    """compare.md."""
    tested = [run for run in runs if "shots" not in run]
    return "\n".join(filter(None, [tested and summary.markdown(tested), summary.words_markdown(runs)]))


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
