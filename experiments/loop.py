"""The loop over cells: each is trained and tested by the scripts, and goes on where it was."""

import csv
import hashlib
import json
import shlex
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

from data.base.errors import UserError
from data.base.files import ROOT
from experiments import cells, new_words, results
from experiments.cells import Cell
from experiments.results import Data
from models.runs.options.training import NEW_WORDS

LOOKS = 6  # at the dev set in a training


class Loop:
    """Runs cells as the arguments of `experiments.compare` say, on ``data``; ``enrolling`` is the protocol of shots."""

    def __init__(self, args: Namespace, data: Data, enrolling: dict | None):
        self.args, self.data, self.enrolling = args, data, enrolling
        self.precision = [f"--precision={args.precision}"] if args.precision else []

    def run(self, chains: list[list[Cell]], known: dict[str, dict]) -> list[str]:
        """Run the cells that are not known, and add each result to compare.json. Returns what went wrong, a line a
        chain: cells that share an encoder, one after the other."""
        problems = []
        for chain in chains:
            missing = [cell for cell in chain if cell.name not in known]
            try:
                for cell in chain:
                    if cell in missing or any(other.method == "head" for other in missing):
                        self.train(cell)
                    if cell in missing:
                        result = self.test(cell)
                        results.add(self.args.out / "compare.json", result)
                        right = f"{100 * result['accuracy']:.2f} %" if "accuracy" in result else "tested"
                        print(f"{cell.name}: {right} ({result['seconds'] / 60:.1f} min)", flush=True)
            except UserError as error:
                problems.append(str(error))
                print(problems[-1], flush=True)
        return problems

    def looks(self, cell: Cell) -> bool:
        """Whether its encoder is looked at with the data set's new words, which cross-entropy's is not."""
        return self.args.eval == "new_words" and cell.method != "ce"

    def tag(self, cell: Cell) -> str:
        """What ends the names of a cell's runs: another for other data, so that no run goes on with other data."""
        parts = [self.data.content, self.data.noise_of(cell), self.data.new_words if self.looks(cell) else None]
        return "-" + hashlib.sha1(json.dumps(parts).encode()).hexdigest()[:8]

    def folder(self, cell: Cell) -> Path:
        """Of the run that is trained for a cell: of ``shots`` its encoder's."""
        return self.args.runs_dir / ((cell.encoder if cell.method == "shots" else cell).name + self.tag(cell))

    def flags(self, cell: Cell, enrolling: bool = False) -> list[str]:
        """Flags of this machine; ``enrolling`` looks up the protocol's data set, not the cell's own."""
        own = cell.fraction != 1 and not enrolling
        return [f"--runs_dir={self.args.runs_dir}", f"--gpu={self.args.gpu}", f"--cache_dir={self.args.cache_dir}",
                f"--registry={self.args.runs_dir / 'manifests.json' if own else self.args.registry}",
                *["--skip_bad_audio"] * self.args.skip_bad_audio]

    def train(self, cell: Cell) -> None:
        """Train a cell, or go on with it; what was trained to the end is left as it is."""
        steps = max(1, cell.steps // LOOKS)
        more = [*self.flags(cell), *self.precision, f"--eval_freq={steps}", f"--step_freq={min(steps, 100)}",
                "--checkpoints_to_keep=1", *["--eval=new_words"] * (self.looks(cell) and cell.method != "head"),
                *["--resume"] * any((self.folder(cell) / "checkpoints").glob("trainer-STEP-*.pt"))]
        self.script(cell, cells.train_command(cell, more, self.tag(cell)))

    def test(self, cell: Cell) -> dict:
        """Test a trained cell. Returns its result, as compare.json has it."""
        folder, manifest, more, kind = self.folder(cell), cell.data, [], "head"
        if cell.method == "shots":
            manifest, more = self.enrolling["manifest"], new_words.flags_of(self.enrolling)
            kind = "shots-unknown" if self.enrolling["unknown"] else "shots"
        elif cell.method == "knn":
            more, kind = ["--k", "5", *(str(k) for k in self.args.ks if k != 5)], "knn"  # of 5, the table's accuracy
        flags = [*more, *self.flags(cell, cell.method == "shots")]
        self.script(cell, cells.test_command(cell, flags, self.tag(cell), manifest))
        stem = folder / (f"{kind}-{manifest}-{cell.model}-{cell.steps}" + f"-{cell.steps}" * (kind == "head"))
        written, config = (json.loads(Path(path).read_text(encoding="utf-8"))
                           for path in (f"{stem}.json", folder / "config.json"))
        if Data.of(self.args) != self.data:
            raise UserError(f"{cell.name}: the data changed since this comparison began; run the same command again")
        facts, looks = written["facts"], self.looks(cell) and cell.method != "head"
        curve = _curve(folder, NEW_WORDS if looks else "dev_accuracy")
        precision = self.precision or ["--precision=bf16"] * (config["arguments"]["precision"] == "bf16")
        result = {"name": cell.name, "cell": cell.to_dict(), "seconds": curve[-1][1], "data": self.data.content,
                  "curve": curve, "versions": written["versions"], "threads": config.get("threads"),
                  "commands": [shlex.join(["python", *command]) for command in (
                      cells.train_command(cell, precision), cells.test_command(cell, more, manifest=manifest))]}
        result |= {"looks": "new_words", "new_words_set": self.data.new_words} if looks else {
            "dev_accuracy": curve[-1][2]}
        result |= {"noise_set": noise} if (noise := self.data.noise_of(cell)) else {}
        result |= {key: facts[key] for key in ("test_clips_trained_on", "test_speakers_trained_on") if facts.get(key)}
        if facts.get("cohort"):  # but for where it lay: results are published, and a path is of one machine
            result["cohort"] = {key: value for key, value in facts["cohort"].items() if key not in ("path", "file")}
        if cell.method != "shots":
            return result | self.classified(cell, written, Path(f"{stem}.csv"))
        if heard := facts.get("enrolled_words_trained_on"):
            raise UserError(f"{cell.name}: its encoder was trained on {', '.join(heard[:5])}, and these figures are "
                            "about words never heard; enrol others with --enroll")
        return result | {"protocol": self.enrolling, "clips": [facts["known_clips"], facts["unknown_clips"]],
                         "shots": [_rounded(one) for one in written["results"]]}

    def classified(self, cell: Cell, written: dict, path: Path) -> dict:
        """The figures of the test set, and which clips were right."""
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        found = {"accuracy": written["accuracy"], "f1_macro": written["f1_macro"],
                 "classes": {one["label"]: one["accuracy"] for one in written["classes"]},
                 "right": "".join("01"[row["label"] == row["prediction"]] for row in rows),
                 "test_set": hashlib.sha1("\n".join("\t".join(
                     (*Path(row["path"]).parts[-2:], row.get("offset", ""), row["label"])) for row in rows).encode()
                     ).hexdigest()}
        if cell.method == "knn":
            by_k = written.get("by_k", [{"k": 5, "accuracy": written["accuracy"]}])
            found |= {"ties": written["facts"]["ties"],
                      "k": {str(one["k"]): one["accuracy"] for one in by_k if one["k"] in self.args.ks}}
        return found

    def script(self, cell: Cell, command: list[str]) -> None:
        """Run a script; what it prints goes to the run's log.txt. Raises UserError with what it had to say."""
        path = self.folder(cell) / "log.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as log:
            print(f"$ python {shlex.join(command)}", file=log, flush=True)
            process = subprocess.Popen([sys.executable, ROOT / command[0], *command[1:]], stdout=log, stderr=log,
                                       stdin=subprocess.DEVNULL, process_group=0)
            try:
                code = process.wait()
            except BaseException:  # as a signal: the script saves a checkpoint and ends
                process.terminate()
                process.wait()
                raise
        if code:
            last = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
            reason = last.partition("error: ")[2] or last
            raise UserError(f"{cell.name}: {reason if code > 0 else f'ended by signal {-code}'} ({path})")


def _rounded(one: dict) -> dict:
    """A line of figures of infer_train.py --shots: means by their own names, deviations over the draws with theirs."""
    return {"scores": one["method"], "shots": one["shots"]} | {
        key.removesuffix("_mean"): round(value, 6) for key, value in one.items()
        if key not in ("method", "shots") and value is not None}


def _curve(folder: Path, tag: str) -> list[tuple[int, float, float]]:
    """Step, seconds of training and figure of each look of a training; of a step seen twice the last counts."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    seconds, figures = ({event.step: event.value for event in events.Scalars(name)} for name in ("seconds", tag))
    return [(step, round(seconds[step], 2), round(value, 6)) for step, value in sorted(figures.items())]
