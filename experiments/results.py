"""compare.json: the results of all cells, and to which data and arguments each belongs."""

import hashlib
import json
import os
import shlex
from argparse import Namespace
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from data.audio.files import find_noise
from data.base.errors import UserError
from data.base.files import file_digest, locked, read_text, write_atomically
from data.manifests import corpus as corpora
from data.manifests.manifest import Manifest
from data.manifests.registry import SPLITS
from experiments import cells
from experiments.cells import Cell


@dataclass(frozen=True)
class Data:
    """What a comparison trains and tests on: hashes of the manifests, and of the held-out words that encoders are
    looked at with; and the set's folder of noise."""

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
    way_out = "move it away, or name another folder with --out"
    text = read_text(path, "comparison's results", way_out)
    try:
        content = json.loads(text)
        for run in content["runs"]:
            if run["cell"]["method"] == "shots":
                names, *lines = run["shots"]
                run["protocol"] = content["protocols"][run["cell"]["words"]]
                run["shots"] = [{name: value for name, value in zip(names, line, strict=True) if value is not None}
                                for line in lines]
            if not is_whole(run):
                raise ValueError(f"{run['name']} contradicts itself")
        return {run["name"]: run for run in content["runs"]}
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise UserError(f"{path}: not what this command writes ({type(error).__name__}: {error}); {way_out}") from None


def is_whole(run: dict) -> bool:
    """Whether a result's name, commands, curve and figures are what its cell and its clips say."""
    cell, steps = cells.from_dict(run["cell"]), [step for step, _, _ in run["curve"]]
    if cell.method == "shots":
        right = protocol_name(run["protocol"]) == cell.words and {one["shots"] for one in run["shots"]} <= {
            *run["protocol"]["shots"]}
    else:
        right = abs(run["right"].count("1") / len(run["right"]) - run["accuracy"]) < 1e-9
    return right and run["name"] == cell.name and len([*map(shlex.split, run["commands"])]) == 2 and \
        sorted({*steps}) == steps and steps[-1] == cell.steps


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
