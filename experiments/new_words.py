"""Words that no encoder heard: how they are enrolled, and a table of several comparisons.

    python -m experiments.new_words RESULTS...

A protocol is a dictionary: ``manifest`` has the words; ``enroll`` and ``unknown`` are labels; ``shots`` clips of each
are enrolled, in ``repeats`` random draws; ``content`` is a hash of the clips. Scores are normalised by the encoder's
own training, ``cohort`` None.
"""

import argparse
import hashlib
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from data.base.errors import UserError, exit_cleanly
from data.base.labels import folded
from data.base.messages import first_few
from data.manifests.corpus import Corpus, load_corpus
from experiments import cells, results, summary
from experiments.cells import Cell
from experiments.summary import SETTINGS, setting, spread
from models.enrolment.enrol import check_clips, choose_words

FIGURES = {"accuracy": "accuracy", "auroc": "AUROC", "equal_error_rate": "equal-error rate",
           "accuracy_at_1_percent": "at 1 % FA", "accuracy_at_5_percent": "at 5 % FA"}
# Of the ways of scoring, those in the table beside the plain cosine, "embedding". compare.json has them all.
NORMALISED = ("embedding, t-norm", "whitened embedding", "whitened embedding, t-norm")


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments.new_words", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS",
                        help="compare.json of experiments.compare --methods shots")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    runs: dict[str, dict] = {}
    for path in args.results:
        for name, result in results.read(path).items():
            if runs.setdefault(name, result) != result:
                raise UserError(f"{path}: has another result of {name} than a file before it; leave one of them out")
    print(markdown(runs.values()) or "no result of words never heard; make some with --methods shots")
    return 0


def flags_of(protocol: dict) -> list[str]:
    """Those of infer_train.py, but for its ``--manifest``."""
    return ["--shots", *map(str, protocol["shots"]), f"--repeats={protocol['repeats']}", "--enroll",
            *protocol["enroll"], *(["--unknown", *protocol["unknown"]] if protocol["unknown"] else [])]


def protocol_of(args: Namespace, trained: Corpus) -> dict:
    """What the flags of `experiments.compare` ask for. Raises UserError for words that the set lacks or has too few
    clips of, or that the encoders learn from ``trained``."""
    corpus = load_corpus(args.shots_manifest, ("train", "test"), args.registry)
    chosen = choose_words(corpus.labels, args.enroll, args.unknown, args.shots_manifest)
    check_clips(corpus.splits["train"], corpus.splits["test"], *chosen, max(args.shots))
    enroll, unknown = ([corpus.labels[c] for c in classes] for classes in chosen)
    heard = {folded(label) for label in trained.labels}
    if known := [label for label in enroll if folded(label) in heard]:
        raise UserError(f"--enroll: the encoders hear {first_few(sorted(known))} in the training of --manifest "
                        f"{args.manifest}, and these figures are about words they never heard; enrol others, or train "
                        "on others")
    return {"manifest": args.shots_manifest, "enroll": enroll, "unknown": unknown, "shots": sorted({*args.shots}),
            "repeats": args.repeats, "cohort": None,
            "content": hashlib.sha1(results.content_of(corpus.splits).encode()).hexdigest()}


def markdown(runs: Iterable[dict]) -> str:
    """A table for each protocol; "" for none.

    Figures are means ± standard deviation over seeds, each seed's a mean over the draws of enrolled clips.
    """
    groups: dict[tuple, list[dict]] = {}
    for run in (run for run in runs if "shots" in run):  # of a table all were tested and looked at with the same clips
        groups.setdefault((run["cell"]["words"], tuple(run["clips"]), run.get("new_words_set")), []).append(run)
    return "\n".join(_of_protocol(groups[key]) for key in sorted(groups, key=str))


def _of_protocol(runs: list[dict]) -> str:
    grouped: dict[Cell, list[dict]] = {}
    for run in runs:
        seeds = grouped.setdefault(replace(cells.from_dict(run["cell"]), seed=0), [])
        seeds.append(run)
        if run["data"] != seeds[0]["data"]:
            raise UserError(f"{run['name']}: the seeds were trained on different data, and have no mean")
    kinds = list(grouped)
    names = ("manifest", "model", "steps", "batch", *SETTINGS)
    varying = [name for name in names if len({setting(cell, name) for cell in kinds}) > 1]
    looks = "looks" in runs[0]
    figures = {key: title for key, title in FIGURES.items() if any(key in one for run in runs for one in run["shots"])}
    found = [[*(name.replace("_", " ") for name in varying), "seeds",
              *["AUROC of new words held out"] * looks, "clips enrolled", "scores", *figures.values()]]
    for cell in sorted(grouped, key=lambda cell: (cell.manifest, summary.order(cell))):
        seeds = grouped[cell]
        lines: dict[tuple[str, int], list[dict]] = {}
        for one in (one for run in seeds for one in run["shots"]):
            lines.setdefault((one["scores"], one["shots"]), []).append(one)
        most = max(count for _, count in lines)
        for (scores, count), ones in lines.items():  # plain scores of all numbers of clips, normalised of the largest
            if scores == "embedding" or (scores in NORMALISED and count == most):
                found.append([*(setting(cell, name) for name in varying), str(len(ones)),
                              *[spread([100 * run["curve"][-1][2] for run in seeds])] * looks, str(count),
                              "plain" if scores == "embedding" else scores.removeprefix("embedding, "),
                              *(spread([100 * one[key] for one in ones]) for key in figures)])
    alike = summary.shared(kinds[0], [name for name in names if name not in (*varying, "shares")], {})
    return "\n".join([f"{_describe(runs[0])} Encoders: {', '.join(alike)}. Per cent, mean ± standard deviation over "
                      "seeds.", "", *summary.table(found), *summary.heard(runs)]) + "\n"


def _describe(run: dict) -> str:
    protocol, (known, unknown) = run["protocol"], run["clips"]
    enrolled, rejected = (", ".join(words) if len(words) <= 5 else f"{len(words)} words"
                          for words in (protocol["enroll"], protocol["unknown"]))
    return (f"Words never heard, {run['cell']['words']}: {enrolled} enrolled, {known:,} test clips of them"
            + (f" and {unknown:,} to reject, of {rejected}" if unknown else "")
            + f"; means over {protocol['repeats']} draws of the enrolled clips"
            + (f", scores normalised by clips of {protocol['cohort'] or 'what each encoder was trained on'}"
               if any(one["scores"] != "embedding" for one in run["shots"]) else "") + ".")


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
