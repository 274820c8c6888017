"""compare.json: the results of all cells, and to which data and arguments each belongs."""

import hashlib
import json
import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

from data.audio.files import find_noise
from data.base.errors import UserError
from data.base.files import file_digest, locked, misshapen, read_text, write_atomically
from data.manifests.corpus import Corpus
from data.manifests.manifest import Manifest
from experiments import cells
from experiments.cells import Cell
from models.runs.provenance import fingerprint

_KINDS = {"str": str, "int": int, "bool": bool, "float": (int, float), "tuple[str, ...]": [str],
          "tuple[float, ...]": [(int, float)]}
_SHAPE = {"name": str, "accuracy": (int, float), "f1_macro": (int, float), "seconds": (int, float), "right": str,
          "classes": {str: (int, float)}, "data": str, "test_set": str, "curve": [[(int, float)]], "ties": str,
          "k": {str: (int, float)}, "looks": str, "new_words_set": str, "noise_set": str, "commands": [str],
          "test_clips_trained_on": int, "test_speakers_trained_on": int, "clips": [int], "cohort": dict,
          "cell": {field.name: _KINDS[field.type] for field in fields(Cell)}}
_PROTOCOL = {"manifest": str, "enroll": [str], "unknown": [str], "shots": [int], "repeats": int}


@dataclass(frozen=True)
class Data:
    """What a comparison trains and tests on.

    Attributes:
        content: hash of the train, dev and test manifests.
        test_set: of the tested clips: results from before they had ``content`` have this alone.
        train: the training clips as a run's configuration has them.
        new_words: hash of the held-out words that encoders are looked at with; None for none.
        noise: the set's folder of noise.
    """

    content: str
    test_set: str
    train: str = ""
    new_words: str | None = None
    noise: str | None = None

    @classmethod
    def of(cls, corpus: Corpus, new_words: Manifest | None = None) -> "Data":
        test = corpus.splits["test"]
        cut = bool(test.offset.any())  # only then does a test's CSV have a column for it
        tested = hash_of_tested((test.files[file], f"{offset:.6f}" if cut else "", test.labels[label])
                                for file, offset, label in zip(test.file, test.offset, test.label, strict=True))
        return cls(content_of(corpus.splits), tested, fingerprint(corpus.splits["train"]),
                   new_words and content_of({"new_words": new_words}), corpus.noise and str(corpus.noise))

    def has(self, run: dict) -> bool:
        """Whether a result is of these data."""
        own = run["data"] == self.content if "data" in run else run["test_set"] == self.test_set
        return own and self.new_words in (None, run.get("new_words_set", self.new_words)) and (
            "noise_set" not in run or run["noise_set"] == self.noise_of(cells.from_dict(run["cell"])))

    def noise_of(self, cell: Cell) -> str | None:
        """Hash of the noise recordings that a cell is augmented with; None for a cell without noise."""
        named = [flag.partition("=")[2] for flag in cell.extra if cells.flag_name(flag) == "noise_dir"]
        folder = named[-1] if named else self.noise
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


def hash_of_tested(clips: Iterable[tuple[str, str, str]]) -> str:
    """Hash of tested clips, each its path, its offset as the test's CSV has it, and its label."""
    lines = "\n".join("\t".join((*Path(path).parts[-2:], offset, label)) for path, offset, label in clips)
    return hashlib.sha1(lines.encode()).hexdigest()


@lru_cache
def _hash_of_noise(folder: str) -> str:
    files = [(path.relative_to(folder).as_posix(), file_digest(path)) for path in find_noise(folder)[0]]
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
    way_out = "move it away, or name another folder with --out"
    text = read_text(path, "comparison's results", way_out)
    try:
        content = json.loads(text)
        if problem := misshapen(content, {"runs": [_SHAPE], "protocols": {str: _PROTOCOL}}):
            raise ValueError(problem)
        for run in content["runs"]:
            if run["cell"]["method"] == "shots":
                names, *lines = run["shots"]
                run["protocol"] = content["protocols"][run["cell"]["words"]]
                run["shots"] = [{name: value for name, value in zip(names, line, strict=True) if value is not None}
                                for line in lines]
            for what, right in _checks(run, cells.from_dict(run["cell"])).items():
                if not right:
                    raise ValueError(f"{run['name']}: {what}")
        return {run["name"]: run for run in content["runs"]}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: not what this command writes ({type(error).__name__}: {error}); {way_out}") from None


def _checks(run: dict, cell: Cell) -> dict[str, bool]:
    """What tables and pictures rest on, by what is wrong where it is not so."""
    steps, right = [look[0] for look in run["curve"]], run.get("right", "")
    found = {
        "the name is not that of its 'cell'": cell.name == run["name"] and cell.method in cells.METHODS,
        "sizes below 1": min(cell.steps, cell.batch_classes, cell.per_class) > 0 and run["seconds"] >= 0,
        "'curve' must have step, seconds and accuracy of each look, to the last step": all(
            len(look) == 3 for look in run["curve"]) and sorted({*steps}) == steps and steps[-1:] == [cell.steps],
        "'commands' must be that of the training and that of the test": len(run["commands"]) == 2}
    shares = [look[2] for look in run["curve"]]
    if cell.method == "shots":
        shares += [one[key] for one in run["shots"] for key in one if key not in ("scores", "shots")]
        found["'shots' are not of its protocol"] = bool(run["shots"]) and len(run["clips"]) == 2 and bool(run["data"]) \
            and protocol_name(run["protocol"]) == cell.words and all(
                isinstance(one["scores"], str) and one["shots"] in run["protocol"]["shots"] for one in run["shots"])
    else:
        shares += [run["accuracy"], run["f1_macro"], *run["classes"].values(), *run.get("k", {}).values()]
        found["'accuracy' is not that of 'right'"] = {*right} <= {"0", "1"} and bool(right) and \
            abs(right.count("1") / len(right) - run["accuracy"]) < 1e-9
        found["'test_set', 'classes' or 'k' is none"] = bool(run["test_set"] and run["classes"]) and all(
            k.isdecimal() for k in run.get("k", {}))
    return found | {"a share that is not from 0 to 1": all(0 <= share <= 1 for share in shares)}


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
