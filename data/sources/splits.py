"""What every data source does once it knows its utterances: split by speaker, check, count, write, register."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from data.base.errors import UserError
from data.base.labels import folded
from data.manifests.manifest import Utterance, write_manifest
from data.manifests.registry import REGISTRY, SPLITS, register

Splits = dict[str, list[Utterance]]  # "train", "dev", "test"


def split_of(speaker: str, dev_percent: float = 10, test_percent: float = 10) -> str:
    """The split of a speaker by the Speech Commands hash rule: adding recordings never moves anyone.

    Anything after ``_nohash_`` is ignored. SHA-1 of the name, modulo 2**27, as a percentage: the first
    ``dev_percent`` are dev, the next ``test_percent`` test (Warden, 2018, arXiv:1804.03209, section 6.3).
    """
    name = re.sub(r"_nohash_.*$", "", speaker).encode(errors="surrogateescape")  # decoding refuses such file names
    digest = hashlib.sha1(name).hexdigest()
    percent = int(digest, 16) % 2**27 * (100.0 / (2**27 - 1))
    return "dev" if percent < dev_percent else "test" if percent < dev_percent + test_percent else "train"


def check_disjoint(splits: Splits) -> None:
    """Raise UserError where a speaker, however the name is written, or a stretch of a file is in two splits."""
    home: dict[object, tuple[str, Utterance]] = {}
    for split, utterances in splits.items():
        for u in utterances:
            speaker = [folded(u.speaker)] if u.speaker is not None else []
            for key in (*speaker, (os.path.realpath(u.path), round(u.offset, 6))):
                first, other = home.setdefault(key, (split, u))
                if first != split:
                    what = f"speaker {u.speaker!r}" if isinstance(key, str) else "this audio"
                    raise UserError(f"{u.path}: {what} is in {split}, and by {other.path} in {first}, too; put all of "
                                    "a speaker's clips into one split, and each clip once")


def count_table(splits: Splits, labels: Sequence[str]) -> str:
    """Clips (speakers) of every class in every split, and their sums, as lines of text."""
    def cell(utterances: Sequence[Utterance]) -> str:
        speakers = {u.speaker for u in utterances} - {None}
        return f"{len(utterances)}" + (f" ({len(speakers)})" if speakers else "")

    by_label = {(split, label): [] for split in splits for label in labels}
    for split, utterances in splits.items():
        for u in utterances:
            by_label[split, u.label].append(u)
    rows = [["clips (speakers)", *splits]]
    rows += [[label, *(cell(by_label[split, label]) for split in splits)] for label in labels]
    rows += [["all", *map(cell, splits.values())]]
    return tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=["left"] + ["right"] * len(splits))


def write_corpus(name: str, splits: Splits, folder: str | Path, *, noise: Path | None = None,
                 made_by: str | None = None, registry: str | Path = REGISTRY) -> None:
    """Write ``train.json``, ``dev.json`` and ``test.json`` into ``folder``, sorted, register them, and say where they
    are. Raises UserError for an empty split, a class of dev or test that train lacks, an unwritable folder."""
    folder = Path(folder)
    trained = {u.label for u in splits["train"]}
    for split in SPLITS:
        if not splits[split]:
            raise UserError(f"{name}: no clip falls into the {split} split; more speakers are needed")
        if lacking := sorted({u.label for u in splits[split]} - trained):
            raise UserError(f"{name}: label {lacking[0]!r} has clips in {split} but none in train; "
                            "add training clips or leave the word out")
    for split in SPLITS:
        write_manifest(folder / f"{split}.json", sorted(splits[split], key=lambda u: (u.label, u.path, u.offset)))
    register(name, **{split: folder / f"{split}.json" for split in SPLITS}, noise=noise, made_by=made_by,
             registry=registry)
    print(f"registered {name!r}: {', '.join(f'{len(splits[s]):,} {s}' for s in SPLITS)} clips of {len(trained)} "
          f"classes; manifests in {folder}; use it with --manifest={name}")
