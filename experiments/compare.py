"""Train encoders by losses of their own and by cross-entropy on equal budgets, several seeds each, and compare them.

Every cell of the grid is a run of the scripts under --runs_dir; one whose result is in --out/compare.json is not run
again, unless the data have changed since; one that was interrupted goes on. All methods get the same number of steps
with the same number of clips, and the same augmentation; "head" trains on the encoder of "knn", which costs its steps
once more, and "shots" tests that encoder on words that it never heard.
"""

import argparse
from pathlib import Path

from data.base.errors import UserError, exit_cleanly
from data.base.files import CACHE, ROOT, locked
from data.base.values import count, positive, whole, width
from experiments import cells, extra, protocol
from models.runs.options.common import MODELS
from models.runs.options.loss import LOSSES, MINING
from models.runs.options.recipe import RECIPES

ON_OFF = {"on": True, "off": False}
STEPS = 480


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.compare", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  python -m experiments.compare --manifest 35 --models Res8 --methods ce knn "
               "--seeds 0 1 2 --steps 240 480 --dry_run")
    grid = parser.add_argument_group(
        "grid", "Every combination that makes sense is run: a loss has no cells for the --mining and --margins that it "
                "does not take, and cross-entropy one for all --losses and these, --data_probs and --shares.")
    grid.add_argument("--manifest", required=True,
                      help="a name registered in manifests.json; several joined by +, as a+b, are one")
    grid.add_argument("--models", nargs="+", choices=MODELS, default=["Res8"], help="(default: Res8)")
    grid.add_argument("--methods", nargs="+", choices=cells.METHODS, default=["ce", "knn"],
                      help="ce: cross-entropy; knn: the encoder's loss and nearest neighbours; head: the same encoder "
                           "and a softmax head; shots: the same encoder on words that it never heard (default: ce knn)")
    grid.add_argument("--losses", nargs="+", choices=tuple(LOSSES), default=["triplet"],
                      help="of the encoder, as TripletEncoder.py's --loss (default: triplet)")
    grid.add_argument("--steps", nargs="+", type=count, help="(default: 480, or what --epochs says)")
    grid.add_argument("--epochs", nargs="+", type=count,
                      help="so many epochs' worth of steps, of all training clips whatever the --fractions (default: "
                           "none)")
    grid.add_argument("--seeds", nargs="+", type=whole, default=[0, 1, 2], help="(default: 0 1 2)")
    grid.add_argument("--augment", nargs="+", choices=tuple(ON_OFF), default=["off"],
                      help="noise and time shift, or what the recipe has (default: off)")
    grid.add_argument("--data_probs", nargs="+", type=int, choices=range(7), default=[0],
                      help="how a batch's classes are drawn, as in TripletEncoder.py (default: 0)")
    grid.add_argument("--mining", nargs="+", choices=MINING, default=["random"],
                      help="of the triplet loss (default: random)")
    grid.add_argument("--margins", nargs="+", type=positive, default=[None],
                      help="of the losses that have one (default: each loss's own)")
    grid.add_argument("--widths", nargs="+", type=width, default=[45],
                      help="channels of Res8 and Res15, and size of the embedding (default: 45)")
    grid.add_argument("--embedding_sizes", nargs="+", type=width, default=[None],
                      help="where it is to differ from the channels (default: the width)")
    grid.add_argument("--fractions", nargs="+", type=_fraction, default=[1.0],
                      help="shares of each class's training clips, as 0.1 or 1/6, the smaller within the larger "
                           "(default: 1)")
    grid.add_argument("--ks", nargs="+", type=count, default=[5],
                      help="numbers of neighbours to vote; the table's is --k's default (default: 5)")
    shared = parser.add_argument_group("all cells")
    shared.add_argument("--recipe", choices=tuple(RECIPES), default="fast", help="(default: fast)")
    shared.add_argument("--batch_classes", type=count, default=35,
                        help="classes in a batch, all of them if there are fewer (default: 35)")
    shared.add_argument("--per_class", type=count, default=10, help="clips of each (default: 10)")
    shared.add_argument("--shares", nargs="+", type=positive, metavar="SHARE",
                        help="with --manifest a+b: of a batch's classes, by set, as in TripletEncoder.py (default: all "
                             "words alike)")
    shared.add_argument("--eval", choices=("dev", "new_words"), default="dev",
                        help="what encoders are looked at with while they are trained, as in TripletEncoder.py: with "
                             "new_words, the table of words never heard has their AUROC (default: dev)")
    shared.add_argument("--extra", nargs="+", default=[], type=extra.one, metavar="FLAG=VALUE",
                        help="further flags of both training scripts, without their dashes, as lr=1e-3, and of the "
                             "losses, as loss_lr=1e-2, which those losses get that take them (default: none)")
    words = parser.add_argument_group("words never heard", "How --methods shots enrols, as in infer_train.py.")
    words.add_argument("--shots_manifest", metavar="MANIFEST", help="the registered data set that has these words")
    words.add_argument("--shots", nargs="+", type=count, metavar="N",
                       help=f"numbers of clips to enrol of each (default: {' '.join(map(str, protocol.SHOTS))})")
    words.add_argument("--repeats", type=count,
                       help=f"random draws of them, the same for all encoders (default: {protocol.REPEATS})")
    words.add_argument("--enroll", nargs="+", metavar="LABEL", help="(default: all that are not --unknown)")
    words.add_argument("--unknown", nargs="*", metavar="LABEL",
                       help="words to reject; without LABEL, all that --enroll does not name (default: none)")
    words.add_argument("--cohort", metavar="MANIFEST",
                       help="whose training clips the scores are also normalised by (default: each encoder's own)")
    place = parser.add_argument_group("where and how")
    place.add_argument("--out", type=Path, help="gets compare.json, compare.md and pictures (default: "
                                                "RUNS_DIR/MANIFEST)")
    place.add_argument("--runs_dir", type=Path, default=Path("runs/compare"), help="(default: runs/compare)")
    place.add_argument("--dry_run", action="store_true", help="print the plan and the time it is expected to take")
    place.add_argument("--jobs", type=count, default=1,
                       help="cells at a time, each with its share of the cores: on a CPU, as many as there are cores "
                            "do most (default: 1)")
    place.add_argument("--gpu", type=whole, default=0, help="(default: 0)")
    place.add_argument("--precision", choices=("32", "bf16"), help="as in the training scripts")
    place.add_argument("--registry", type=Path, default=ROOT / "manifests.json",
                       help="(default: manifests.json)")
    place.add_argument("--cache_dir", type=Path, default=CACHE,
                       help="of decoded audio (default: datasets/cache)")
    place.add_argument("--skip_bad_audio", action="store_true", help="as in the scripts (default: off)")
    args = parser.parse_args(argv)
    args.out = args.out or args.runs_dir / args.manifest
    if args.precision and any(flag != f"--precision={args.precision}" for flag in args.extra
                              if cells.flag_name(flag) == "precision"):
        parser.error(f"--extra precision contradicts --precision {args.precision}; leave one of them out")
    if "shots" in args.methods:
        if not args.shots_manifest:
            parser.error("--methods shots: name with --shots_manifest the data set that has the words to enrol")
        if args.cohort and args.unknown is None:
            parser.error("--cohort is about telling unknown words from enrolled ones; say with --unknown which are "
                         "unknown, or leave --cohort out")
    elif given := [flag for flag in protocol.FLAGS if getattr(args, flag) is not None]:
        parser.error(f"--{given[0]} is about words never heard; add shots to --methods, or leave --{given[0]} out")
    args.shots = sorted(set(args.shots or protocol.SHOTS))
    args.repeats = args.repeats or protocol.REPEATS
    return args


def main(args: argparse.Namespace) -> int:
    from data.manifests import SPLITS
    from experiments.belongs import data_of
    from experiments.estimate import Estimate, clock
    from experiments.pool import run_all
    from experiments.results_file import Results
    from experiments.setup import Setup, machine_flags, make_fraction
    from models.runs import session

    corpus = session.open_corpus(args, SPLITS)
    if args.shares and len(args.shares) != (0 if corpus.parts is None else 1 + max(corpus.parts)):
        raise UserError(f"--shares has {len(args.shares)} values; --manifest {args.manifest} must be as many sets "
                        "joined by +")
    classes = min(args.batch_classes, len(corpus.labels))
    enrolling = protocol.protocol_of(args, corpus)
    todo = cells.grid(
        args.manifest, args.models, args.methods, _steps(args, corpus, classes), args.seeds, loss=args.losses,
        data_probs=args.data_probs, mining=args.mining, margin=args.margins, width=args.widths,
        embedding_size=args.embedding_sizes, augment=[ON_OFF[value] for value in args.augment],
        fraction=args.fractions, recipe=[args.recipe], batch_classes=[classes], per_class=[args.per_class],
        extra=[tuple(args.extra)], shares=[tuple(args.shares or ())], words=[enrolling.name if enrolling else ""])
    data = data_of(corpus, _usable(args, corpus, "test") if args.skip_bad_audio else None, _new_words(args, corpus))
    results = Results(args.out / "compare.json", data, args.manifest)
    extra.check_names(todo, results.known.values())
    chains = [chain for chain in cells.chains(todo) if any(cell.name not in results.known for cell in chain)]
    estimate = Estimate(results, lambda: _rate(args))
    wanted = [cell for chain in chains for cell in chain if cell.name not in results.known]
    if stale := results.stale:
        again = len({cell.name for cell in wanted} & set(stale))
        print(f"{results.path}: {len(stale)} results are of other data, or noise, than --manifest {args.manifest} has "
              f"now: {again} to run again, {len(stale) - again} left out", flush=True)
    if args.eval == "new_words" and (otherwise := [
            cell.name for cell in todo if cell.method in ("knn", "shots") and cell.name in results.known
            and results.known[cell.name].get("looks") != "new_words"]):
        print(f"{results.path}: {len(otherwise)} encoders were looked at with dev, and have no AUROC of new words (as "
              f"{otherwise[0]}); infer_train.py --new_words tells it of each, or train them with another --runs_dir "
              "and --out", flush=True)
    if args.dry_run or wanted:
        seconds = sum(estimate.chain(chain, results.known) for chain in chains) / args.jobs
        print(f"{len(todo)} cells, {len(wanted)} to run, about {clock(seconds)} with {args.jobs} at a time",
              flush=True)
    if args.dry_run:
        for chain in chains:
            for i, cell in enumerate(chain):
                if cell.name not in results.known:
                    known = {*results.known, *(before.name for before in chain[:i])}
                    print(f"{cell.name:60}  {clock(estimate.chain([cell], known))}")
        return 0

    for fraction in sorted({cell.fraction for cell in wanted} - {1.0}):
        make_fraction(args.manifest, fraction, args.registry, args.runs_dir)
    common, training = machine_flags(args)
    setup = Setup(args.runs_dir, args.registry, data, frozenset(results.stale), common, training, tuple(args.ks),
                  enrolling, args.eval)
    problems = []
    try:
        if wanted:
            _open_once(args, wanted)
            with _threads(args.jobs):
                problems = run_all(chains, results, setup, args.jobs, estimate)
    finally:
        args.out.mkdir(parents=True, exist_ok=True)
        with locked(args.out):  # of two comparisons that write the tables, the later one has all results
            results.reread()
            write(args.out, list(results.known.values()))
    if problems:
        raise UserError(f"{len(problems)} of {len(chains)} runs failed, the first: {problems[0]}")
    return 0


def _steps(args: argparse.Namespace, corpus, classes: int) -> list[int]:
    """What --steps and --epochs ask for; an epoch has as many whole batches as the training clips fill."""
    epoch = max(1, len(corpus.splits["train"]) // (classes * args.per_class))
    counted = [epochs * epoch for epochs in args.epochs or ()]
    if args.epochs:
        print("--epochs " + ", ".join(f"{epochs}: {steps} steps" for epochs, steps in
                                      zip(args.epochs, counted, strict=True)), flush=True)
    return list(dict.fromkeys([*(args.steps or ()), *counted])) or [STEPS]


def _new_words(args: argparse.Namespace, corpus):
    """The manifest of the words that the data set holds out; None if it has none, or none that are fit and needed."""
    from data import joined

    try:
        return joined.new_words(corpus, args.registry)
    except UserError:
        if args.eval == "new_words":
            raise
        return None


def write(out: Path, results: list[dict]) -> None:
    """The tables, printed and as compare.md; each setting's learning curves, and its longest runs' classes, as PNG."""
    from data.base.files import write_atomically
    from experiments import new_words, summary
    from experiments.pictures import draw_classes, draw_curves

    tested = [result for result in results if result["cell"]["method"] != "shots"]
    parts = ([summary.markdown(tested)] if tested or not results else []) + [new_words.markdown(results)]
    text = "\n".join(filter(None, parts))
    print(f"\n{text}")
    with write_atomically(out / "compare.md") as file:
        file.write(text)
    rows = summary.rows(tested)
    for model in sorted({row["cell"].model for row in rows}):
        for setting, shown in summary.side_by_side(rows, model).items():
            most = max(row["cell"].steps for row in shown)
            for kind, png in (("curves", draw_curves(shown)),
                              ("classes", draw_classes([row for row in shown if row["cell"].steps == most]))):
                with write_atomically(out / f"compare-{model}-{setting}-{kind}.png", "wb") as file:
                    file.write(png)
    print(f"wrote {out / 'compare.json'}, compare.md" + " and pictures" * bool(rows))


def _open_once(args: argparse.Namespace, wanted: list[cells.Cell]) -> None:
    """Decode what the runs will read, so that no two of them do it at the same time."""
    from data.joined import load

    for name in sorted({cell.data for cell in wanted}):
        registry = args.registry if name == args.manifest else args.runs_dir / "manifests.json"
        corpus = load(name, registry=registry)
        for split in corpus.splits:
            _usable(args, corpus, split)
    if any(cell.method == "shots" for cell in wanted):
        corpus = load(args.shots_manifest, ("train", "test"), args.registry)
        for split in corpus.splits:
            _usable(args, corpus, split)


def _usable(args: argparse.Namespace, corpus, split: str):
    """The manifest of a split's clips, decoded, without those that --skip_bad_audio leaves out."""
    from models.runs import session

    return session.open_clips(argparse.Namespace(clip_seconds=session.CLIP_SECONDS, cache_dir=args.cache_dir,
                                                 skip_bad_audio=args.skip_bad_audio), corpus, split).manifest


def _threads(jobs: int):
    """Share the cores among processes to come: a context."""
    import os
    from unittest.mock import patch

    from data.base.cores import cores

    return patch.dict(os.environ, {"OMP_NUM_THREADS": str(max(1, cores() // jobs))} if jobs > 1 else {})


def _rate(args: argparse.Namespace) -> float:
    """Multiply-adds a second of one process, from products of matrices."""
    import torch

    from models.roofline import roofline

    if args.gpu < torch.cuda.device_count():
        return roofline(torch.device("cuda", args.gpu))() / args.jobs
    torch.set_num_threads(max(1, torch.get_num_threads() // args.jobs))
    return roofline()()


def _fraction(text: str) -> float:
    from fractions import Fraction

    try:
        value = float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share above 0 and up to 1")
    return value


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
