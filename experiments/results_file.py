"""The one JSON of all results of a comparison, and what belongs to today's data of it."""

import json
from collections.abc import Iterable
from pathlib import Path

from data.base.errors import UserError
from data.base.files import locked, misshapen, read_text, write_atomically
from experiments import cells
from experiments.belongs import Data
from experiments.protocol import from_dict
from models.runs.options.loss import LOSSES


class Results:
    """The one JSON of all results, written after each cell: what a later call need not run again.

    Args:
        data: what results must belong to, to be ``known``; None takes all.
        manifest: the name of those data.

    Attributes:
        runs: all results of the file, by cell's name, also of other data.
    """

    def __init__(self, path: Path, data: Data | None = None, manifest: str | None = None):
        self.path, self.data, self.manifest = path, data, manifest
        self.runs = self._read()

    @property
    def known(self) -> dict[str, dict]:
        """The results that belong to the data, by name."""
        return {name: run for name, run in self.runs.items() if self.data is None or
                (run["cell"]["manifest"] == self.manifest and self.data.has(run))}

    @property
    def stale(self) -> list[str]:
        """Names of the results of this manifest's name that are of other data."""
        return [name for name, run in self.runs.items() if name not in self.known
                and run["cell"]["manifest"] == self.manifest]

    def add(self, results: Iterable[dict]) -> None:
        """Write results beside those that are in the file, which another comparison may have added to."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path.parent):
            self.runs = self._read() | {result["name"]: result for result in results}
            protocols = {run["cell"]["words"]: run["protocol"] for run in self.runs.values() if "protocol" in run}
            with write_atomically(self.path) as file:
                lines = ",\n".join(json.dumps(_packed(run), ensure_ascii=False)
                                   for _, run in sorted(self.runs.items()))
                once = f', "protocols": {json.dumps(protocols, ensure_ascii=False)}' if protocols else ""
                file.write(f'{{"runs": [\n{lines}\n]{once}}}\n')

    def reread(self) -> None:
        """Take in what another comparison has added since."""
        self.runs = self._read()

    def _read(self) -> dict[str, dict]:
        if not self.path.exists():
            return {}
        way_out = "move it away, or name another folder with --out"
        text = read_text(self.path, "comparison's results", way_out)
        try:
            content = json.loads(text)
            if problem := misshapen(content, {"runs": [_RESULT], "protocols": {str: _PROTOCOL}}):
                raise ValueError(problem)
            runs = {run["name"]: run | {"cell": cells.to_dict(cells.from_dict(run["cell"]))}
                    for run in content["runs"]}
            for run in runs.values():
                if run["cell"]["method"] == "shots":
                    run |= {"protocol": content["protocols"][run["cell"]["words"]], "shots": _unpacked(run["shots"])}
            for run in runs.values():
                _check_result(run)
            return runs
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{self.path}: not what this command writes ({type(error).__name__}: {error}); "
                            f"{way_out}") from None


def _packed(run: dict) -> dict:
    """A result as it is written: without its protocol, which the file has once, and its figures named once."""
    found = {key: value for key, value in run.items() if key != "protocol"}
    if "shots" in run:
        names = list(dict.fromkeys(name for one in run["shots"] for name in one))
        found["shots"] = [names, *([one.get(name) for name in names] for one in run["shots"])]
    return found


def _unpacked(shots: list) -> list[dict]:
    """The figures of a result by name, as `_packed` wrote them or, before that, as they are."""
    if not shots or isinstance(shots[0], dict):
        return shots
    names, *lines = shots
    return [{name: value for name, value in zip(names, line, strict=True) if value is not None} for line in lines]


_NUMBER = (int, float)
_RESULT = {"name": str, "accuracy": _NUMBER, "f1_macro": _NUMBER, "dev_accuracy": _NUMBER, "seconds": _NUMBER,
           "classes": {str: _NUMBER}, "right": str, "data": str, "test_set": str, "curve": [[_NUMBER]],
           "k": {str: _NUMBER}, "ties": str, "looks": str, "new_words_set": str, "noise_set": str,
           "test_clips_trained_on": int, "test_speakers_trained_on": int,
           "shots": [(dict, list)], "clips": [int], "cell": {
               "manifest": str, "model": str, "method": str, "steps": int, "seed": int, "batch_classes": int,
               "per_class": int, "recipe": str, "augment": bool, "fraction": _NUMBER, "width": int, "data_probs": int,
               "mining": str, "margin": _NUMBER, "extra": [str], "loss": str, "shares": [_NUMBER],
               "embedding_size": int, "words": str}}
_PROTOCOL = {"manifest": str, "enroll": [str], "unknown": [str], "shots": [int], "repeats": int,
             "cohort": (str, type(None)), "content": str}


def _check_result(run: dict) -> None:
    """Raise ValueError or KeyError for what a table could not show, or would show as a figure that it is not."""
    name, cell = run["name"], run["cell"]
    if cell["method"] not in cells.METHODS or cell.get("loss", "triplet") not in LOSSES:
        raise ValueError(f"{name}: a method or loss that there is not")
    if cells.from_dict(cell).name != name:
        raise ValueError(f"{name}: the name is not that of its 'cell'")
    if not run["curve"] or any(len(look) != 3 for look in run["curve"]):
        raise ValueError(f"{name}: 'curve' must have step, seconds and accuracy of each look")
    if min(cell[key] for key in ("steps", "batch_classes", "per_class")) < 1 or not run["seconds"] >= 0:
        raise ValueError(f"{name}: steps, clips or seconds below what there can be")
    if cell["method"] == "shots":
        _check_shots(run)
        return
    shares = [run["accuracy"], run["f1_macro"], *run["classes"].values(), *run.get("k", {}).values()]
    if not all(0 <= share <= 1 for share in shares):  # nor NaN
        raise ValueError(f"{name}: a share that is not from 0 to 1")
    if not run["right"] or set(run["right"]) - {"0", "1"}:
        raise ValueError(f"{name}: 'right' must have a 0 or 1 for each test clip")
    if not all(k.isdecimal() for k in run.get("k", {})):
        raise ValueError(f"{name}: a number of neighbours that there is not")
    if not run["test_set"]:
        raise ValueError(f"{name}: 'test_set' must identify the tested clips")


def _check_shots(run: dict) -> None:
    """The same for a test of enrolled words."""
    name, protocol = run["name"], run["protocol"]
    if from_dict(protocol).name != run["cell"]["words"]:
        raise ValueError(f"{name}: its protocol is not the one that its name has")
    if not run["shots"] or len(run["clips"]) != 2 or not run["data"]:
        raise ValueError(f"{name}: a test of enrolled words has figures, numbers of clips, and 'data'")
    for one in run["shots"]:
        if not isinstance(one["scores"], str) or one["shots"] not in protocol["shots"]:
            raise ValueError(f"{name}: scores or numbers of clips enrolled that there are not")
        if not all(0 <= one[figure] <= 1 for figure in one if figure not in ("scores", "shots")):
            raise ValueError(f"{name}: a share that is not from 0 to 1")
