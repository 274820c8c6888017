"""What the scripts left of a cell that was trained and tested, as its result."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from experiments import belongs, cells
from experiments.cells import Cell
from experiments.setup import Setup
from models.runs.checkpoints import Run
from models.runs.options.training import NEW_WORDS


def collect(cell: Cell, setup: Setup) -> dict:
    """The result of a cell that was trained and tested, as plain values.

    ``right`` has a digit for each test clip, 1 where the prediction was right, in the order of the test manifest, which
    ``test_set`` identifies, as ``data`` does all three manifests; ``curve`` has step, seconds of training, and accuracy
    on dev for each look at it, or, as ``looks`` says then, AUROC of the new words that ``new_words_set`` identifies.
    ``noise_set`` identifies the noise that clips were augmented with, if they were. Of enrolled words ``shots`` has the
    figures instead, means over the draws. On a CPU, ``threads`` in training bear on how sums are rounded, and so on the
    figures as another seed does. How many test clips and speakers were trained on is there if any were.
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
    if cell.augment and (noise := belongs.augmented_with(folder)) is not None:
        result["noise_set"] = noise
    if cell.method == "shots":
        facts = test["facts"]
        return result | {
            "protocol": setup.protocol.to_dict(), "clips": [facts["known_clips"], facts["unknown_clips"]],
            "shots": [_rounded(one) for one in test["results"]],
            **({"chosen_on_dev": {str(one["shots"]): one["method"] for one in facts["chosen_on_dev"]["chosen"]}}
               if facts.get("chosen_on_dev") else {}),
            **about_the_test(facts)}
    with Path(f"{stem}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    result |= {"accuracy": test["accuracy"], "f1_macro": test["f1_macro"],
               "classes": {c["label"]: c["accuracy"] for c in test["classes"]},
               "right": "".join("01"[row["label"] == row["prediction"]] for row in rows),
               "test_set": belongs.hash_of_tested((row["path"], row.get("offset", ""), row["label"]) for row in rows),
               **about_the_test(test["facts"])}
    if cell.method == "knn":
        result |= {"k": by_k(stem, setup.ks), "ties": test["facts"]["ties"]}
    return result


def about_the_test(facts: dict) -> dict:
    """What of a test's facts bears on its figures: the cohort, and what the encoder was trained on.

    Where the cohort lay is left out, since results are published, and a path is of one machine.
    """
    found = {key: facts[key] for key in ("cohort", "test_clips_trained_on", "test_speakers_trained_on")
             if facts.get(key)}
    if "cohort" in found:
        found["cohort"] = {key: value for key, value in found["cohort"].items() if key not in ("path", "file")}
    return found


def _rounded(one: dict) -> dict:
    """A line of figures of infer_train.py --shots: means by their own name, deviations over the draws with theirs."""
    figures = {key.removesuffix("_mean"): round(value, 6) for key, value in one.items()
               if key not in ("method", "shots") and value is not None}
    return {"scores": one["method"], "shots": one["shots"], **figures}


def by_k(stem: Path, ks: Iterable[int]) -> dict[str, float]:
    """Accuracy with each number of neighbours, from the embeddings that infer_train.py --save left."""
    from models.neighbours.knn import classify_each

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
