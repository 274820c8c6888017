"""Train encoders by triplet loss and by cross-entropy on equal budgets, several seeds each, and compare their tests.

Every cell of the grid is a run of the scripts under --runs_dir; one whose result is in --out/compare.json is not run
again, unless the data have changed since; one that was interrupted goes on. All methods get the same number of steps
with the same number of clips, and the same augmentation; "head" trains on the encoder of "knn", which costs its steps
once more.
"""

import argparse
from pathlib import Path

from data.base.errors import UserError, exit_cleanly
from experiments import cells
from models.runs import options

ON_OFF = {"on": True, "off": False}


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.compare", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  python -m experiments.compare --manifest 35 --models Res8 --methods ce knn "
               "--seeds 0 1 2 --steps 240 480 --dry_run")
    grid = parser.add_argument_group("grid", "Every combination is run; cross-entropy knows no triplets, and has one "
                                             "cell for all --data_probs, --mining and --margins.")
    grid.add_argument("--manifest", required=True, help="a name registered in manifests.json")
    grid.add_argument("--models", nargs="+", choices=options.MODELS, default=["Res8"], help="(default: Res8)")
    grid.add_argument("--methods", nargs="+", choices=cells.METHODS, default=["ce", "knn"],
                      help="cross-entropy, triplet loss and nearest neighbours, or triplet loss and a softmax head "
                           "(default: ce knn)")
    grid.add_argument("--steps", nargs="+", type=options.count, default=[480], help="(default: 480)")
    grid.add_argument("--seeds", nargs="+", type=options.whole, default=[0, 1, 2], help="(default: 0 1 2)")
    grid.add_argument("--augment", nargs="+", choices=tuple(ON_OFF), default=["off"],
                      help="noise and time shift, or what the recipe has (default: off)")
    grid.add_argument("--data_probs", nargs="+", type=int, choices=range(7), default=[0],
                      help="how a batch's classes are drawn, as in TripletEncoder.py (default: 0)")
    grid.add_argument("--mining", nargs="+", choices=options.MINING, default=["random"], help="(default: random)")
    grid.add_argument("--margins", nargs="+", type=options.positive, default=[0.5], help="(default: 0.5)")
    grid.add_argument("--widths", nargs="+", type=options.count, default=[45], help="of the embedding (default: 45)")
    grid.add_argument("--fractions", nargs="+", type=_fraction, default=[1.0],
                      help="shares of each class's training clips, the smaller within the larger (default: 1)")
    grid.add_argument("--ks", nargs="+", type=options.count, default=[5],
                      help="numbers of neighbours to vote; the table's is --k's default (default: 5)")
    shared = parser.add_argument_group("all cells")
    shared.add_argument("--recipe", choices=tuple(options.RECIPES), default="fast", help="(default: fast)")
    shared.add_argument("--batch_classes", type=options.count, default=35,
                        help="classes in a batch, all of them if there are fewer (default: 35)")
    shared.add_argument("--per_class", type=options.count, default=10, help="clips of each (default: 10)")
    shared.add_argument("--extra", nargs="+", default=[], metavar="FLAG=VALUE",
                        help="further flags of both training scripts, without their dashes, as lr=1e-3 (default: none)")
    place = parser.add_argument_group("where and how")
    place.add_argument("--out", type=Path, help="gets compare.json, compare.md and pictures (default: "
                                                "RUNS_DIR/MANIFEST)")
    place.add_argument("--runs_dir", type=Path, default=Path("runs/compare"), help="(default: runs/compare)")
    place.add_argument("--dry_run", action="store_true", help="print the plan and the time it is expected to take")
    place.add_argument("--jobs", type=options.count, default=1,
                       help="cells at a time, each with its share of the cores: on a CPU, as many as there are cores "
                            "do most (default: 1)")
    place.add_argument("--gpu", type=options.whole, default=0, help="(default: 0)")
    place.add_argument("--precision", choices=("32", "bf16"), help="as in the training scripts")
    place.add_argument("--registry", type=Path, default=options.ROOT / "manifests.json",
                       help="(default: manifests.json)")
    place.add_argument("--cache_dir", type=Path, default=options.ROOT / "datasets" / "cache",
                       help="of decoded audio (default: datasets/cache)")
    place.add_argument("--skip_bad_audio", action="store_true", help="as in the scripts (default: off)")
    args = parser.parse_args(argv)
    args.out = args.out or args.runs_dir / args.manifest
    return args


def main(args: argparse.Namespace) -> int:
    from data.manifests import load_corpus
    from experiments import run
    from experiments.belongs import data_of
    from experiments.results_file import Results

    corpus = load_corpus(args.manifest, registry=args.registry)
    classes = min(args.batch_classes, len(corpus.labels))
    todo = cells.grid(
        args.manifest, args.models, args.methods, args.steps, args.seeds, data_probs=args.data_probs,
        mining=args.mining, margin=args.margins, width=args.widths, augment=[ON_OFF[value] for value in args.augment],
        fraction=args.fractions, recipe=[args.recipe], batch_classes=[classes], per_class=[args.per_class],
        extra=[tuple(f"--{flag.lstrip('-')}" for flag in args.extra)])
    data = data_of(corpus, _usable(args, corpus, "test") if args.skip_bad_audio else None)
    results = Results(args.out / "compare.json", data, args.manifest)
    chains = [chain for chain in cells.chains(todo) if any(cell.name not in results.known for cell in chain)]
    estimate = run.Estimate(results, lambda: _rate(args))
    wanted = [cell for chain in chains for cell in chain if cell.name not in results.known]
    if stale := results.stale:
        again = len({cell.name for cell in wanted} & set(stale))
        print(f"{results.path}: {len(stale)} results are of other data than --manifest {args.manifest} has now: "
              f"{again} to run again, {len(stale) - again} left out", flush=True)
    if args.dry_run or wanted:
        seconds = sum(map(estimate, wanted)) / args.jobs
        print(f"{len(todo)} cells, {len(wanted)} to run, about {run.clock(seconds)} with {args.jobs} at a time",
              flush=True)
    if args.dry_run:
        for cell in wanted:
            print(f"{cell.name:60}  {run.clock(estimate(cell))}")
        return 0

    for fraction in sorted({cell.fraction for cell in wanted} - {1.0}):
        run.make_fraction(args.manifest, fraction, args.registry, args.runs_dir)
    common, training = run.machine_flags(args)
    setup = run.Setup(args.runs_dir, args.registry, data, frozenset(results.stale), common, training, tuple(args.ks))
    problems = []
    try:
        if wanted:
            _open_once(args, wanted)
            with _threads(args.jobs):
                problems = run.run_all(chains, results, setup, args.jobs, estimate)
    finally:
        write(args.out, list(results.known.values()))
    if problems:
        raise UserError(f"{len(problems)} of {len(chains)} runs failed, the first: {problems[0]}")
    return 0


def write(out: Path, results: list[dict]) -> None:
    """The table, printed and as compare.md; each setting's learning curves, and its longest runs' classes, as PNG."""
    from data.base.files import write_atomically
    from experiments import summary
    from experiments.pictures import draw_classes, draw_curves

    text = summary.markdown(results)
    print(f"\n{text}")
    with write_atomically(out / "compare.md") as file:
        file.write(text)
    rows = summary.rows(results)
    for model in sorted({row["cell"].model for row in rows}):
        for setting, shown in summary.side_by_side(rows, model).items():
            most = max(row["cell"].steps for row in shown)
            for kind, png in (("curves", draw_curves(shown)),
                              ("classes", draw_classes([row for row in shown if row["cell"].steps == most]))):
                with write_atomically(out / f"compare-{model}-{setting}-{kind}.png", "wb") as file:
                    file.write(png)
    print(f"wrote {out / 'compare.json'}, compare.md and pictures")


def _open_once(args: argparse.Namespace, wanted: list[cells.Cell]) -> None:
    """Decode what the runs will read, so that no two of them do it at the same time."""
    from data.manifests import load_corpus

    for name in sorted({cell.data for cell in wanted}):
        registry = args.registry if name == args.manifest else args.runs_dir / "manifests.json"
        corpus = load_corpus(name, registry=registry)
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
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share above 0 and up to 1")
    return value


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
