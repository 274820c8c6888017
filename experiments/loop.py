"""The loop over cells: each is trained and tested by the scripts, and leaves a result in compare.json."""

import csv
import hashlib
import json
import os
import shlex
import subprocess
import sys
from argparse import Namespace
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from data.audio.files import find_noise
from data.base.errors import UserError
from data.base.files import ROOT, file_digest, locked, read_text, write_atomically
from data.manifests import corpus as corpora
from data.manifests.manifest import Manifest
from data.manifests.registry import SPLITS
from experiments import cells
from experiments.cells import Cell
from models.runs.options.training import NEW_WORDS

LOOKS = 6  # at the dev set in a training


@dataclass(frozen=True)
class Data:
    """What a comparison trains and tests on: hashes of its manifests and held-out words, and its folder of noise."""

    content: str
    new_words: str | None = None
    noise: str | None = None

    @classmethod
    def of(cls, args: Namespace) -> "Data":
        """Of --manifest as it is now, and with --eval new_words of its new words."""
        corpus = corpora.load_corpus(args.manifest, SPLITS, args.registry)
        new_words = corpora.new_words(corpus, args.registry) if args.eval == "new_words" else None
        return cls(content_of(corpus.splits), new_words and content_of({"new_words": new_words}),
                   corpus.noise and str(corpus.noise))

    def has(self, run: dict) -> bool:
        """Whether a result is of these data."""
        new_words, noise = run.get("new_words_set"), run.get("noise_set")
        return run.get("data") == self.content and (not self.new_words or new_words in (None, self.new_words)) and (
            not noise or noise == self.noise_of(cells.from_dict(run["cell"])))

    def noise_of(self, cell: Cell) -> str | None:
        """Hash of the noise recordings that a cell is augmented with; None for a cell without noise."""
        given = [flag.partition("=")[2] for flag in cell.extra if cells.flag_name(flag) == "noise_dir"]
        folder = given[-1] if given else self.noise
        return _hash_of_noise(folder) if cell.augment and folder else None


def content_of(splits: dict[str, Manifest]) -> str:
    """Hash of manifests by split: each utterance's path as seen from the manifest, offset, duration and label."""
    content = hashlib.sha1()
    for split, manifest in splits.items():
        paths = [os.path.relpath(path, manifest.path.absolute().parent) for path in manifest.files]
        for file, offset, duration, label in zip(manifest.file, manifest.offset, manifest.duration, manifest.label,
                                                 strict=True):
            line = json.dumps([split, paths[file], float(offset), float(duration), manifest.labels[label]])
            content.update(line.encode() + b"\n")
    return content.hexdigest()


@lru_cache
def _hash_of_noise(folder: str) -> str:
    files = [(path.relative_to(folder).as_posix(), file_digest(path)) for path in find_noise(folder)]
    return hashlib.sha1(json.dumps(files).encode()).hexdigest()


def other_arguments(cell: Cell, run: dict, precision: str | None) -> list[str]:
    """Flags that only one of a cell's training and a result of its name has; no ``precision`` asked for is any."""
    wanted = {*cells.train_command(cell)[1:], *["--precision=bf16"] * (precision == "bf16")}
    differ = wanted ^ {*shlex.split(run["commands"][0])[2:]} - {"--precision=32"}
    return sorted(flag for flag in differ if precision or flag != "--precision=bf16")


def protocol_name(protocol: dict) -> str:
    """The set's name and a hash of all the rest: results of two protocols have two names."""
    return f"{protocol['manifest']}-{hashlib.sha1(json.dumps(protocol).encode()).hexdigest()[:8]}"


def read(path: Path) -> dict[str, dict]:
    """The results of a compare.json by name; none where there is no file. Raises UserError for a damaged one."""
    if not path.exists():
        return {}
    text = read_text(path, "comparison's results")
    try:
        content = json.loads(text)
        for run in content["runs"]:
            cell, steps = cells.from_dict(run["cell"]), [step for step, _, _ in run["curve"]]
            if cell.method == "shots":
                names, *lines = run["shots"]
                run["protocol"] = content["protocols"][cell.words]
                run["shots"] = [{name: value for name, value in zip(names, line, strict=True) if value is not None}
                                for line in lines]
                right = protocol_name(run["protocol"]) == cell.words
            else:
                right = abs(run["right"].count("1") / len(run["right"]) - run["accuracy"]) < 1e-9
            _, _ = map(shlex.split, run["commands"])
            if not right or run["name"] != cell.name or steps != sorted({*steps}) or steps[-1] != cell.steps:
                raise ValueError(f"{run['name']} contradicts itself")
        return {run["name"]: run for run in content["runs"]}
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise UserError(f"{path}: not what this command writes ({type(error).__name__}: {error}); move it away, or "
                        "name another folder with --out") from None


def add(path: Path, result: dict) -> None:
    """Write a result beside those that the file has by now, each protocol and the names of its figures once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent):
        protocols, lines = {}, []
        for _, run in sorted((read(path) | {result["name"]: result}).items()):
            run = dict(run)
            if "shots" in run:
                protocols[run["cell"]["words"]] = run.pop("protocol")
                names = list(dict.fromkeys(name for one in run["shots"] for name in one))
                run["shots"] = [names, *([one.get(name) for name in names] for one in run["shots"])]
            lines.append(json.dumps(run, ensure_ascii=False))
        once = f', "protocols": {json.dumps(protocols, ensure_ascii=False)}' if protocols else ""
        with write_atomically(path) as file:
            file.write('{"runs": [\n' + ",\n".join(lines) + f"\n]{once}}}\n")


class Loop:
    """Runs cells as the arguments of `experiments.compare` say, on ``data``; ``enrolling`` is the protocol of shots."""

    def __init__(self, args: Namespace, data: Data, enrolling: dict | None):
        self.args, self.data, self.enrolling, self.trained = args, data, enrolling, set()
        self.precision = [f"--precision={args.precision}"] if args.precision else []

    def run(self, todo: list[Cell]) -> list[str]:
        """Train and test cells, and add each result to compare.json. Returns what went wrong, a line a cell."""
        problems = []
        for cell in todo:
            try:
                for needed in (cell.encoder, cell):
                    if needed.method != "shots" and needed not in self.trained:
                        self.train(needed)
                        self.trained.add(needed)
                result = self.test(cell)
                add(self.args.out / "compare.json", result)
                right = f"{100 * result['accuracy']:.2f} %" if "accuracy" in result else "tested"
                print(f"{cell.name}: {right} ({result['seconds'] / 60:.1f} min)", flush=True)
            except UserError as error:
                problems.append(str(error))
                print(error, flush=True)
        return problems

    def looks(self, cell: Cell) -> bool:
        """Whether it is an encoder that is looked at with the data set's new words in its training."""
        return self.args.eval == "new_words" and cell.method in ("knn", "shots")

    def tag(self, cell: Cell) -> str:
        """What ends the names of a cell's runs: another for other data, so that no run goes on with other data."""
        parts = [self.data.content, self.data.noise_of(cell), self.data.new_words if self.looks(cell.encoder) else None]
        return "-" + hashlib.sha1(json.dumps(parts).encode()).hexdigest()[:8]

    def folder(self, cell: Cell) -> Path:
        """Of the run that is trained for a cell: of ``shots`` its encoder's."""
        return self.args.runs_dir / ((cell.encoder if cell.method == "shots" else cell).name + self.tag(cell))

    def flags(self, share: bool) -> list[str]:
        """Flags of this machine; a ``share`` of the clips is registered beside the runs."""
        registry = self.args.runs_dir / "manifests.json" if share else self.args.registry
        return [f"--runs_dir={self.args.runs_dir}", f"--gpu={self.args.gpu}", f"--cache_dir={self.args.cache_dir}",
                f"--registry={registry}", *["--skip_bad_audio"] * self.args.skip_bad_audio]

    def train(self, cell: Cell) -> None:
        """Train a cell, or go on with it; what was trained to the end is left as it is."""
        steps = max(1, cell.steps // LOOKS)
        more = [*self.flags(cell.fraction != 1), *self.precision, f"--eval_freq={steps}",
                f"--step_freq={min(steps, 100)}", "--checkpoints_to_keep=1",
                *["--eval=new_words"] * self.looks(cell),
                *["--resume"] * any((self.folder(cell) / "checkpoints").glob("trainer-STEP-*.pt"))]
        self.script(cell, cells.train_command(cell, more, self.tag(cell)))

    def test(self, cell: Cell) -> dict:
        """Test a trained cell. Returns its result, as compare.json has it; of looks at one step the last counts."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        folder, manifest, more, kind = self.folder(cell), cell.data, [], "head"
        if cell.method == "shots":
            words, manifest, kind = self.enrolling, self.enrolling["manifest"], "shots"
            more = ["--shots", *map(str, words["shots"]), f"--repeats={words['repeats']}", "--enroll", *words["enroll"]]
            if words["unknown"]:
                more, kind = [*more, "--unknown", *words["unknown"]], "shots-unknown"
        elif cell.method == "knn":
            more, kind = ["--k", "5", *(str(k) for k in self.args.ks if k != 5)], "knn"  # of 5, the table's accuracy
        flags = [*more, *self.flags(cell.fraction != 1 and cell.method != "shots")]
        self.script(cell, cells.test_command(cell, flags, self.tag(cell), manifest))
        stem = folder / (f"{kind}-{manifest}-{cell.model}-{cell.steps}" + f"-{cell.steps}" * (kind == "head"))
        written, config = (json.loads(Path(path).read_text(encoding="utf-8"))
                           for path in (f"{stem}.json", folder / "config.json"))
        if Data.of(self.args) != self.data:
            raise UserError(f"{cell.name}: the data changed since this comparison began; run the same command again")
        facts, looks = written["facts"], self.looks(cell)
        events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
        events.Reload()
        seconds, right = ({event.step: event.value for event in events.Scalars(name)}
                          for name in ("seconds", NEW_WORDS if looks else "dev_accuracy"))
        curve = [(step, round(seconds[step], 2), round(value, 6)) for step, value in sorted(right.items())]
        precision = self.precision or ["--precision=bf16"] * (config["arguments"]["precision"] == "bf16")
        result = {"name": cell.name, "cell": cell.to_dict(), "seconds": curve[-1][1], "data": self.data.content,
                  "curve": curve, "versions": written["versions"], "threads": config.get("threads"),
                  "commands": [shlex.join(["python", *command]) for command in (
                      cells.train_command(cell, precision), cells.test_command(cell, more, manifest=manifest))]}
        result |= {"looks": "new_words", "new_words_set": self.data.new_words} if looks else {
            "dev_accuracy": curve[-1][2]}
        result |= {"noise_set": noise} if (noise := self.data.noise_of(cell)) else {}
        result |= {key: facts[key] for key in ("test_clips_trained_on", "test_speakers_trained_on") if facts.get(key)}
        if cell.method != "shots":
            return result | self.classified(cell, written, Path(f"{stem}.csv"))
        if heard := facts.get("enrolled_words_trained_on"):
            raise UserError(f"{cell.name}: its encoder was trained on {', '.join(heard)}; --enroll words never heard")
        # Figures are means, named as they are, and deviations over the draws.
        figures = [{"scores": one["method"], "shots": one["shots"]} | {
            key.removesuffix("_mean"): round(value, 6) for key, value in one.items()
            if key not in ("method", "shots") and value is not None} for one in written["results"]]
        return result | {"protocol": self.enrolling, "clips": [facts["known_clips"], facts["unknown_clips"]],
                         "shots": figures}

    def classified(self, cell: Cell, written: dict, path: Path) -> dict:
        """The figures of the test set, and which clips were right."""
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        clips = ["\t".join((*Path(row["path"]).parts[-2:], row.get("offset", ""), row["label"])) for row in rows]
        found = {"accuracy": written["accuracy"], "f1_macro": written["f1_macro"],
                 "classes": {one["label"]: one["accuracy"] for one in written["classes"]},
                 "right": "".join("01"[row["label"] == row["prediction"]] for row in rows),
                 "test_set": hashlib.sha1("\n".join(clips).encode()).hexdigest()}
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
