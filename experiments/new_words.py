"""Words never heard, of several comparisons in one table: ``python -m experiments.new_words RESULTS...``.

Encoders are held side by side where they enrolled the same words by the same protocol, whatever they were trained on.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

from data.base.errors import UserError, exit_cleanly
from experiments import cells, summary
from experiments.cells import Cell

FIGURES = {"accuracy": "accuracy", "auroc": "AUROC", "equal_error_rate": "equal-error rate",
           "accuracy_at_1_percent": "at 1 % FA", "accuracy_at_5_percent": "at 5 % FA"}
# Beside plain ones, the ways of scoring in the table: what a threshold would be set on. compare.json has them all.
NORMALISED = ("embedding, t-norm", "whitened embedding", "whitened embedding, t-norm")


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.new_words", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  python -m experiments.new_words runs/compare/*/compare.json")
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS",
                        help="compare.json of experiments.compare --methods shots")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the tables there (default: off)")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    from data.base.files import write_atomically
    from experiments.results_file import Results

    runs: dict[str, dict] = {}
    for path in args.results:
        if not path.exists():
            raise UserError(f"{path}: no such file; name the compare.json of a comparison")
        for name, result in Results(path).runs.items():
            if runs.setdefault(name, result) != result:
                raise UserError(f"{path}: has another result of {name} than a file before it; leave one of them out")
    text = markdown(runs.values())
    if not text:
        raise UserError(f"{args.results[0]}: no result of words never heard; make some with experiments.compare "
                        "--methods shots")
    print(text)
    if args.out:
        with write_atomically(args.out) as file:
            file.write(text)
    return 0


def markdown(runs: Iterable[dict]) -> str:
    """A table for each protocol, and one of encoders that only new words held out were looked at with; "" for none.

    Figures are means ± standard deviation over seeds, of a seed its mean over the draws of enrolled clips.
    """
    runs = list(runs)
    enrolled = [run for run in runs if run["cell"]["method"] == "shots"]
    tested = {_encoder(run).name for run in enrolled}
    looked = [run for run in runs if run["cell"]["method"] == "knn" and run.get("looks") == "new_words"
              and run["name"] not in tested]
    groups: dict[tuple, list[dict]] = {}
    for run in [*enrolled, *looked]:
        # Of a group all were tested and looked at with the same clips; others, or none, have no place beside these.
        key = run["cell"].get("words", ""), tuple(run.get("clips", ())), run.get("new_words_set")
        groups.setdefault(key, []).append(run)
    return "\n".join(_table_of(groups[key]) for key in sorted(groups, key=str))


def _table_of(runs: list[dict]) -> str:
    grouped: dict[tuple[Cell, str], dict[int, dict]] = {}
    for run in runs:
        cell = cells.from_dict(run["cell"])
        grouped.setdefault((cell.row(), _owner(run)), {})[cell.seed] = run
    kinds = [cell for cell, _ in grouped]
    twice = len(set(kinds)) < len(kinds)  # a data set of one name, or the cohort, was another at another time
    varying = [name for name in ("manifest", "model", "steps", "batch", *summary.SETTINGS)
               if len({summary.setting(cell, name) for cell in kinds}) > 1]
    fixed = [name for name in ("manifest", "model", "steps", "batch", *summary.SETTINGS) if name not in varying]
    looks = any(run.get("looks") == "new_words" for run in runs)
    shots = any("shots" in run for run in runs)
    figures = {key: title for key, title in FIGURES.items()
               if any(key in one for run in runs for one in run.get("shots", ()))}
    table = [[*(name.replace("_", " ") for name in varying), *["data and cohort"] * twice, "seeds",
              *["AUROC of new words held out"] * looks, *["clips enrolled", "scores"] * shots, *figures.values()]]
    for (cell, owner), of_seeds in sorted(grouped.items(), key=lambda item: (_order(item[0][0]), item[0][1])):
        results = list(of_seeds.values())
        first = [*(summary.setting(cell, name) for name in varying), *[owner] * twice]
        auroc = [summary.spread([100 * run["curve"][-1][2] for run in results], 2)] * looks
        if not shots:
            table.append([*first, str(len(results)), *auroc])
        for scores, count in _lines(results):
            of_line = [one for run in results for one in run["shots"]
                       if (one["scores"], one["shots"]) == (scores, count)]
            table.append([*first, str(len(of_line)), *auroc, str(count), _said(scores),
                          *(summary.spread([100 * one[key] for one in of_line], 2) for key in figures)])
    shared = [f"{name.replace('_', ' ')} {said}" for name in fixed
              if (said := summary.setting(kinds[0], name)) and name not in ("extra", "shares")]
    return "\n".join([f"{_describe(runs[0])} Encoders: {', '.join(shared)}. Per cent, mean ± standard deviation over "
                      "seeds.", "", *summary.table(table), *summary.heard(runs)]) + "\n"


def _owner(run: dict) -> str:
    """What of the data and the cohort must be the same for seeds to have a mean."""
    cohort = run.get("cohort", {})
    sizes = "/".join(str(cohort[key]) for key in ("clips", "words", "held_against", "most_similar") if key in cohort)
    return f"{run['data'][:8]} {sizes}".strip()


def _describe(run: dict) -> str:
    if "protocol" not in run:
        return "Words that the data set holds out as new: AUROC of pairs of clips, one word or two."
    protocol = run["protocol"]
    known, unknown = run["clips"]
    return (f"Words never heard, {run['cell']['words']}: {_several(protocol['enroll'])} enrolled, {known:,} test clips "
            f"of them" + (f" and {unknown:,} to reject, of {_several(protocol['unknown'])}" if unknown else "")
            + f"; means over {protocol['repeats']} draws of the enrolled clips"
            + (f", scores normalised by clips of {protocol['cohort'] or 'what each encoder was trained on'}"
               if any(one["scores"] != "embedding" for one in run["shots"]) else "") + ".")


def _several(words: list[str]) -> str:
    return ", ".join(words) if len(words) <= 5 else f"{len(words)} words"


def _lines(results: list[dict]) -> list[tuple[str, int]]:
    """Plain scores of each number of clips enrolled, normalised ones of the largest."""
    found = list(dict.fromkeys((one["scores"], one["shots"]) for run in results for one in run.get("shots", ())))
    most = max((count for _, count in found), default=0)
    return [line for line in found if line[0] == "embedding" or (line[0] in NORMALISED and line[1] == most)]


def _said(scores: str) -> str:
    return "plain" if scores == "embedding" else scores.removeprefix("embedding, ")


def _encoder(run: dict) -> Cell:
    return cells.from_dict(run["cell"]).encoder


def _order(cell: Cell) -> tuple:
    return cell.manifest, summary.order(cell)


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
