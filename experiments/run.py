"""Run cells by the scripts' own `main`, several at a time, and read what they left.

A cell whose result is known is not run again, and one that was interrupted goes on from its newest checkpoint.
"""

import contextlib
import csv
import importlib
import json
import multiprocessing
import os
import shlex
import signal
import statistics
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.base.errors import UserError
from experiments import belongs, cells
from experiments.belongs import Data
from experiments.cells import Cell
from experiments.protocol import Protocol
from experiments.results_file import Results
from models.runs.checkpoints import Run
from models.runs.options.training import NEW_WORDS

LOOKS = 6  # at the dev set in a run
OVERHEAD = 30  # seconds a cell takes beside its steps, for the first estimate: start, looks, test


@dataclass(frozen=True)
class Setup:
    """How to run cells here.

    Attributes:
        runs_dir: gets a run for each cell.
        common: flags of this machine for all scripts.
        training: flags of this machine for the training scripts.
        ks: numbers of neighbours to test kNN with.
        registry: where the manifests of whole data sets are looked up.
        data: what results belong to.
        stale: names of cells whose results are of other data.
        protocol: how words are enrolled that no encoder heard, if they are.
        looks: what encoders are looked at with while they are trained, as TripletEncoder.py's --eval.
    """

    runs_dir: Path
    registry: Path
    data: Data
    stale: frozenset[str] = frozenset()
    common: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    ks: tuple[int, ...] = (5,)
    protocol: Protocol | None = None
    looks: str = "dev"

    def flags(self, cell: Cell, enrolling: bool = False) -> list[str]:
        """``enrolling``: for what looks up the protocol's data sets, not the cell's own."""
        registry = self.registry if enrolling or cell.fraction == 1 else self.runs_dir / "manifests.json"
        return [f"--runs_dir={self.runs_dir}", f"--registry={registry}", *self.common]

    def at_new_words(self, cell: Cell) -> bool:
        """Whether a cell's encoder is looked at with the data set's new words, which cross-entropy's is not."""
        return self.looks == "new_words" and cell.encoder.method == "knn" and cell.method != "head"


class Stopped(Exception):
    """A signal ended a cell's training; it can go on from there."""


_stopped = False  # in a process of the pool: it got a signal


def work(chain: list[Cell], known: set[str], setup: Setup) -> list[dict]:
    """`run_chain` in a process of the pool, which has more chains in its queue and must not begin them once stopped."""
    global _stopped
    try:
        if _stopped:
            raise Stopped
        return run_chain(chain, known, setup)
    except (Stopped, KeyboardInterrupt):
        _stopped = True
        raise Stopped from None


def run_chain(chain: list[Cell], known: set[str], setup: Setup) -> list[dict]:
    """Train and test cells one after the other; those in ``known``, by name, are only trained if others need them.

    Returns:
        the results of all cells not in ``known``.

    Raises:
        UserError: with the cell's name, what a script had to say; or another comparison is at the same cells.
        Stopped: a signal came.
    """
    with belongs.alone(setup.runs_dir, chain[0].encoder.name):
        return _run_chain(chain, known, setup)


def _run_chain(chain: list[Cell], known: set[str], setup: Setup) -> list[dict]:
    results = []
    for cell in chain:
        folder = setup.runs_dir / cell.run
        checkpoint = folder / "checkpoints" / f"trainer-STEP-{cell.steps}.pt"
        needed = cell.method == "knn" and not checkpoint.exists() and any(
            other.method == "head" and other.name not in known for other in chain)
        if cell.name in known and not needed:
            continue
        looks = setup.at_new_words(cell)
        belongs.make_room(folder, setup.data, cell.name in setup.stale, looks)
        steps = max(1, cell.steps // LOOKS)
        resume = ["--resume"] if (folder / "config.json").exists() else []
        train = cells.train_command(cell, setup.flags(cell))
        test = cells.test_command(cell, setup.flags(cell, cell.method == "shots"), setup.protocol)
        call(cell, [*train, *setup.training, f"--eval_freq={steps}", f"--step_freq={min(steps, 100)}",
                    "--checkpoints_to_keep=1", *["--eval=new_words"] * looks, *resume], setup)
        if cell.name not in known:
            call(cell, test, setup)
            commands = (cells.train_command(cell, list(setup.training)),
                        cells.test_command(cell, [], setup.protocol))
            results.append(collect(cell, setup) | {"commands": [shlex.join(["python", *words]) for words in commands]})
            if not setup.data.has(results[-1]):
                raise UserError(f"{cell.name}: the clips it was tested on are no longer those that this comparison "
                                "began with; run the same command again")
    return results


def call(cell: Cell, command: list[str], setup: Setup) -> None:
    """Run a script in this process; what it prints goes to the run's log.txt."""
    module = importlib.import_module(command[0].removesuffix(".py"))
    folder = setup.runs_dir / cell.run
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log), \
            contextlib.redirect_stderr(log):
        print(f"$ python {shlex.join(command)}", flush=True)
        try:
            code = module.main(module.parse_args(command[1:]))
        except UserError as error:
            raise UserError(f"{cell.name}: {error}") from None
        except SystemExit:
            raise UserError(f"{cell.name}: {command[0]} refuses its flags; see {folder / 'log.txt'}") from None
    if code:
        raise Stopped


def collect(cell: Cell, setup: Setup) -> dict:
    """The result of a cell that was trained and tested, as plain values.

    ``right`` has a digit for each test clip, 1 where the prediction was right, in the order of the test manifest, which
    ``test_set`` identifies, as ``data`` does all three manifests; ``curve`` has step, seconds of training, and accuracy
    on dev for each look at it, or, as ``looks`` says then, AUROC of the new words that ``new_words_set`` identifies. Of
    enrolled words ``shots`` has the figures instead, means over the draws. On a CPU, ``threads`` in training bear on
    how sums are rounded, and so on the figures as another seed does.
    """
    folder = setup.runs_dir / cell.run
    stem = cells.written_to(cell, setup.runs_dir, setup.protocol)
    test = json.loads(Path(f"{stem}.json").read_text(encoding="utf-8"))
    looks, curve = looked(folder)
    result = {"name": cell.name, "cell": cells.to_dict(cell), "seconds": curve[-1][1], "data": setup.data.content,
              "curve": curve, "versions": test["versions"],
              "threads": Run(setup.runs_dir, cell.run).config().get("threads")}
    if looks == "new_words":
        result |= {"looks": looks, "new_words_set": belongs.looked_at_with(folder) or ""}
    else:
        result["dev_accuracy"] = curve[-1][2]
    if cell.method == "shots":
        facts = test["facts"]
        return result | {
            "protocol": setup.protocol.to_dict(), "clips": [facts["known_clips"], facts["unknown_clips"]],
            "shots": [_rounded(one) for one in test["results"]],
            **({"chosen_on_dev": {str(one["shots"]): one["method"] for one in facts["chosen_on_dev"]["chosen"]}}
               if facts.get("chosen_on_dev") else {}),
            **{key: facts[key] for key in ("cohort", "test_clips_trained_on", "test_speakers_trained_on")
               if facts.get(key)}}
    with Path(f"{stem}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    result |= {"accuracy": test["accuracy"], "f1_macro": test["f1_macro"],
               "classes": {c["label"]: c["accuracy"] for c in test["classes"]},
               "right": "".join("01"[row["label"] == row["prediction"]] for row in rows),
               "test_set": belongs.hash_of_tested((row["path"], row.get("offset", ""), row["label"]) for row in rows)}
    if cell.method == "knn":
        result |= {"k": by_k(stem, setup.ks), "ties": test["facts"]["ties"]}
    return result


def _rounded(one: dict) -> dict:
    """A line of figures of infer_train.py --shots: means by their own name, deviations over the draws with theirs."""
    figures = {key.removesuffix("_mean"): round(value, 6) for key, value in one.items()
               if key not in ("method", "shots") and value is not None}
    return {"scores": one["method"], "shots": one["shots"], **figures}


def by_k(stem: Path, ks: Iterable[int]) -> dict[str, float]:
    """Accuracy with each number of neighbours, from the embeddings that infer_train.py --save left."""
    from models.evaluation.knn import classify_each

    train, train_labels, test, test_labels = (np.load(f"{stem}-{name}.npy") for name in (
        "train_embeddings", "train_labels", "test_embeddings", "test_labels"))
    if many := [k for k in ks if k > len(train)]:
        print(f"{stem.parent.name}: --ks {' '.join(map(str, many))} left out, the training set has {len(train)} clips",
              flush=True)
    ks = [k for k in ks if k <= len(train)]
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    found = classify_each(train, train_labels, test, ks, classes) if ks else {}
    return {str(k): float(np.mean(of.labels == test_labels)) for k, of in found.items()}


def looked(folder: Path) -> tuple[str, list[tuple[int, float, float]]]:
    """What a run was looked at with, "dev" or "new_words", and step, seconds of training and figure of each look.

    Of a step seen twice after a crash the last counts, and of a run that was first looked at otherwise the last kind.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    found = {}
    for looks, tag in (("dev", "dev_accuracy"), ("new_words", NEW_WORDS)):
        if tag in events.Tags()["scalars"]:
            found[looks] = {event.step: event.value for event in events.Scalars(tag)}
    seconds = {event.step: event.value for event in events.Scalars("seconds")}
    looks = max(found, key=lambda looks: max(found[looks]))
    return looks, [(step, round(seconds[step], 2), round(value, 6)) for step, value in sorted(found[looks].items())]


class Estimate:
    """Seconds that cells take: as measured on this machine in finished ones, before that from its arithmetic."""

    def __init__(self, results: Results, rate: Callable[[], float]):
        self.results, self.rate, self._rate = results, rate, None

    def chain(self, chain: Iterable[Cell], known: Collection[str]) -> float:
        """What is left to do of cells that share an encoder, which is trained once."""
        trained, seconds = set(known), 0.0
        for cell in chain:
            if cell.name in known:
                continue
            done = cell.method == "shots" and cell.encoder.name in trained
            seconds += OVERHEAD if done else self(cell)
            trained.add(cell.encoder.name)
        return seconds

    def __call__(self, cell: Cell) -> float:
        clips = cell.steps * cell.batch_classes * cell.per_class
        measured = [run["seconds"] / other.steps / other.batch_classes / other.per_class
                    for run in self.results.runs.values()
                    if _alike(other := cells.from_dict(run["cell"])) == _alike(cell)]
        if measured:
            return OVERHEAD + statistics.median(measured) * clips
        from models.encoders.build import make_encoder
        from models.roofline import multiply_adds

        self._rate = self._rate or self.rate()
        passes = 1 if cell.method == "head" else 3  # forward, and backward's two
        encoder = make_encoder(cell.model, cell.width, cell.embedding_size)
        # Half as long again as the products of matrices alone: BENCHMARKS.md.
        return OVERHEAD + 1.5 * passes * multiply_adds(encoder) * clips / self._rate


def _alike(cell: Cell) -> tuple:
    """What a step's time depends on, but for its clips."""
    return cell.model, cell.width, cell.method if cell.method in ("ce", "head") else "encoder"


def run_all(todo: list[list[Cell]], results: Results, setup: Setup, jobs: int, estimate: Estimate) -> list[str]:
    """Run chains of cells, ``jobs`` at a time, each in a process that goes from one to the next.

    Returns:
        what went wrong, a line a chain; the others are run all the same.

    Raises:
        KeyboardInterrupt: a signal came. All finished cells are in ``results``, the others can go on.
    """
    problems: list[str] = []
    left = sum(estimate.chain(chain, results.known) for chain in todo)
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _watch_parent, (os.getpid(),))
    terminate = signal.signal(signal.SIGTERM, _interrupt)
    try:
        waiting: dict[Future, list[Cell]] = {
            pool.submit(work, chain, set(results.known), setup): chain for chain in todo}
        number, total = 0, len(waiting)
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                chain = waiting.pop(future)
                number += 1
                left -= estimate.chain(chain, results.known)
                try:
                    found = future.result()
                except Stopped:
                    raise KeyboardInterrupt from None
                except UserError as error:
                    problems.append(str(error))
                    print(f"[{number}/{total}] {problems[-1]}", flush=True)
                    continue
                except BrokenProcessPool:
                    raise UserError("a process that ran a cell died, perhaps for want of memory; the same command goes "
                                    "on from where it was, with fewer --jobs") from None
                results.add(found)
                for result in found:
                    print(f"[{number}/{total}] {result['name']}: {_headline(result)} "
                          f"({result['seconds'] / 60:.1f} min), {clock(max(left, 0) / jobs)} to go", flush=True)
    except KeyboardInterrupt:
        for child in multiprocessing.active_children():  # each saves a checkpoint and ends
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, terminate)
        pool.shutdown(cancel_futures=True)
    return problems


def _headline(result: dict) -> str:
    """Its accuracy; of enrolled words that with most clips, and how well others are told from them."""
    if result["cell"]["method"] != "shots":
        return f"{100 * result['accuracy']:.2f} %"
    most = max((one for one in result["shots"] if one["scores"] == "embedding"), key=lambda one: one["shots"])
    auroc = f", AUROC {100 * most['auroc']:.2f} %" if "auroc" in most else ""
    return f"{most['shots']} clips enrolled, accuracy {100 * most['accuracy']:.2f} %{auroc}"


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def _watch_parent(parent: int) -> None:
    """In a process of the pool: end with the one that started it, however that ended."""
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)
    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGTERM, _interrupt)  # between trainings, which have a handler of their own


def make_fraction(manifest: str, fraction: float, registry: Path, folder: Path) -> None:
    """Register ``<manifest>-<fraction>`` in ``folder/manifests.json``: dev and test as they are, fewer training clips.

    Of each class the first of a fixed random order, at least two, so that a smaller share lies within a larger one. Of
    sets joined by +, each is registered so.
    """
    from data.joined import JOIN, parts_of
    from data.manifests import load_corpus, register, registered, write_manifest

    parts = parts_of(manifest, registry)
    for part in parts if len(parts) > 1 else [manifest]:
        corpus, entry = load_corpus(part, registry=registry), registered(part, registry)
        train = corpus.splits["train"]
        kept = []
        for c, count in enumerate(train.counts()):
            order = np.random.default_rng([0, c]).permutation(np.flatnonzero(train.label == c))
            kept.extend(order[:max(2, round(fraction * count))])
        name = JOIN.join(f"{word}-{fraction:g}" for word in part.split(JOIN))  # as `experiments.cells.Cell.data`
        path = folder / "manifests" / f"{name}-train.json"
        write_manifest(path, (train[i] for i in sorted(kept)))
        here = Path(registry).absolute().parent
        held = entry.get("new_words")
        register(name, train=path, dev=here / entry["dev"], test=here / entry["test"], noise=corpus.noise,
                 new_words=here / held if held else None, registry=folder / "manifests.json")


def machine_flags(args: Namespace) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Flags for all scripts and for the training scripts only."""
    common = [f"--gpu={args.gpu}", f"--cache_dir={args.cache_dir}"] + ["--skip_bad_audio"] * args.skip_bad_audio
    return tuple(common), (f"--precision={args.precision}",) if args.precision else ()


def clock(seconds: float) -> str:
    """Hours and minutes."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
