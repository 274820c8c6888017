"""The data that a ``--manifest`` names: a registered set, or several as one, ``--manifest a+b``.

Labels are joined by name. What one set holds out for its dev and test splits must not be in another's training: neither
a speaker, nor a recording; nor may a word that is held out to judge new words by be trained on.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import permutations
from pathlib import Path

import numpy as np

from data.base.errors import UserError, first_few
from data.base.files import check_regular
from data.base.labels import folded, look_alike, one_form, twins
from data.manifests.manifest import Manifest, first_alike, in_two_splits, joined, read_manifest, under_two_labels
from data.manifests.registry import REGISTRY, SPLITS, read_registry, registered

JOIN = "+"
OTHER_WORDS = "_unknown_"  # of sets that have a label for all of them
_LOOKED_AT = 20  # recordings of a set whose rates are looked at
_FULL_RATE = 16_000  # Hz, of an encoder


@dataclass
class Corpus:
    """What a ``--manifest`` name stands for: its labels, its splits, and a folder of noise if it has one.

    Attributes:
        parts: of sets that were joined, (C,) which of them each label came from.
        speech_commands: whether it is of Speech Commands.
    """

    name: str
    labels: list[str]
    splits: dict[str, Manifest] = field(default_factory=dict)
    noise: Path | None = None
    parts: np.ndarray | None = None
    speech_commands: bool = False


def load_corpus(name: str, splits: Sequence[str] = SPLITS, registry: str | Path = REGISTRY) -> Corpus:
    """The data set, or the sets joined by ``+``, that a ``--manifest`` names.

    Labels are the union, sorted. Noise is that of the first set that has some. Raises UserError for an unknown name, a
    missing or broken manifest, a label in dev or test that train lacks, or sets that cannot be joined.
    """
    names = parts_of(name, registry)
    if len(names) == 1:
        return _load_set(name, splits, registry)
    for part in names:
        registered(part, registry)  # the plain message for a name that is not there
    parts = {part: _load_set(part, SPLITS, registry) for part in names}
    if len(parts) < len(names):
        raise UserError(f"--manifest {name}: names a data set twice; leave one out")
    _refuse_leaks(parts)
    labels = sorted(set().union(*(part.labels for part in parts.values())))
    _refuse_contradictions(name, parts, labels)
    _tell_rates(name, parts)
    first = {label: i for i, part in reversed(list(enumerate(parts.values()))) for label in part.labels}
    whole = {split: concatenate([part.splits[split] for part in parts.values()], labels) for split in splits}
    for split, manifest in whole.items():
        if twice := sum(len(part.splits[split]) for part in parts.values()) - len(manifest):
            print(f"--manifest {name}: {twice:,} {split} clips are in several of the sets and count once",
                  file=sys.stderr)
    return Corpus(name, labels, whole, next((part.noise for part in parts.values() if part.noise), None),
                  np.array([first[label] for label in labels]), all(part.speech_commands for part in parts.values()))


def parts_of(name: str, registry: str | Path = REGISTRY) -> list[str]:
    """The names that a ``--manifest`` joins; a name that is registered as it is stands for itself."""
    return [name] if JOIN not in name or name in read_registry(registry) else name.split(JOIN)


def _load_set(name: str, splits: Sequence[str] = SPLITS, registry: str | Path = REGISTRY) -> Corpus:
    """Read the manifests registered under ``name``.

    The labels are the entry's or else the sorted ones of the training manifest, which is always read, so that a class
    has one index in every split.
    """
    entry = registered(name, registry)
    folder = Path(registry).absolute().parent
    labels = None if entry.get("labels") is None else [one_form(label) for label in entry["labels"]]
    if labels is not None and len(set(labels)) < len(labels):
        raise UserError(f"{registry}: 'labels' of {name!r} must be a list of different texts")
    for split in ("train", *splits):
        if not isinstance(entry.get(split), str):
            raise UserError(f"{registry}: entry {name!r} has no {split!r} manifest")
        if not (folder / entry[split]).exists():
            raise UserError(f"{folder / entry[split]}: no such file, though {name!r} is registered"
                            + (f"; make it with: {entry['made_by']}" if "made_by" in entry else ""))
    train = read_manifest(folder / entry["train"], labels)
    missing = np.flatnonzero(train.counts() == 0)
    if len(missing):
        raise UserError(f"{train.path}: no utterance of label {train.labels[missing[0]]!r}, which {registry} lists")
    found = {"train": train} | {split: read_manifest(folder / entry[split], train.labels)
                                for split in splits if split != "train"}
    remarks = [*look_alike(train.labels), *two_labels(list(found.values()))]
    if shared := in_two_splits(found):
        remarks.append(f"{len(shared):,} speaker{'s are' if len(shared) > 1 else ' is'} in two splits, as "
                       f"{next(iter(shared.values()))[0]}; what is measured on them does not tell how new speakers do; "
                       "data.check lists them")
    for remark in remarks:
        print(f"warning: {name}: {remark}", file=sys.stderr)
    noise = folder / entry["noise"] if "noise" in entry else None
    ours = name in ("12", "35") or entry.get("made_by", "").startswith("python -m data.speech_commands")
    return Corpus(name, train.labels, {split: found[split] for split in splits}, noise, speech_commands=ours)


def two_labels(manifests: Sequence[Manifest]) -> list[str]:
    """One line on what `under_two_labels` finds; none if that is nothing."""
    found = under_two_labels(manifests)
    if not found:
        return []
    m, i, n, j = found[0]
    one, other = manifests[m][i], manifests[n][j]
    return [f"{len(found):,} clips have two labels, as {one.path} at {one.offset:g} s: {other.label!r} in "
            f"{manifests[n].path.name}, {one.label!r} in {manifests[m].path.name}; data.check lists them"]


def _new_words_of(name: str, registry: str | Path) -> dict[str, Path]:
    """The manifests of words held out as new, by the name of the set that has them."""
    folder = Path(registry).absolute().parent
    return {part: folder / path for part in parts_of(name, registry)
            if isinstance(path := registered(part, registry).get("new_words"), str)}


def new_words(corpus: Corpus, registry: str | Path = REGISTRY) -> Manifest:
    """The clips of words held out to judge an encoder by. Raises UserError: there are none, or training has some."""
    paths = {path.resolve(): path for path in _new_words_of(corpus.name, registry).values()}  # may be the same words
    found = [read_manifest(path) for path in paths.values()]
    if not found:
        raise UserError(f"--manifest {corpus.name} has no words held out as new; make a set that has, with python -m "
                        "data.libriwords --new_words")
    labels = sorted(set().union(*(manifest.labels for manifest in found)))
    unheard = concatenate(found, labels)
    for what, both in trained_on(unheard, corpus.splits["train"]):
        raise UserError(f"{len(both):,} {what} held out as new are in the training of --manifest {corpus.name}: "
                        f"{first_few(sorted(both))}; leave them out of it")
    return unheard


def trained_on(unheard: Manifest, train: Manifest) -> list[tuple[str, set[str]]]:
    """What a manifest of words held out as new shares with a training: (what, which), also speakers and recordings."""
    found = [("words", _alike(unheard.labels, train.labels)), ("speakers", _alike(unheard.speaker, train.speaker)),
             ("recordings", {*map(_real, unheard.files)} & {*map(_real, train.files)})]
    return [(what, both) for what, both in found if both]


def trained_new_words(corpus: Corpus, registry: str | Path = REGISTRY) -> list[str]:
    """A line on the words that one set holds out as new and another is trained on; none if there are no such."""
    found = []
    for part, path in _new_words_of(corpus.name, registry).items():
        if path.is_file() and (words := _alike(read_manifest(path).labels, corpus.splits["train"].labels)):
            found.append(f"{len(words):,} words that {part!r} holds out as new are in this training: "
                         f"{first_few(sorted(words))}; they cannot judge this encoder")
    return found


def concatenate(manifests: Sequence[Manifest], labels: list[str]) -> Manifest:
    """The utterances of several manifests, one after another, with the classes of ``labels``.

    One that an earlier manifest has, too, is there once: a clip beside itself would be a pair of one word for nothing.
    """
    place = {label: i for i, label in enumerate(labels)}
    path_of: dict[str, str] = {}  # by real path: a link is the file it leads to
    for path in (path for manifest in manifests for path in manifest.files):
        path_of.setdefault(_real(path), path)
    files, names, (file, label, of, offset, duration) = joined(manifests, _real)
    label = np.array([place[name] for name in names], np.int32)[label]
    whole = Manifest(manifests[0].path, labels, [path_of[path] for path in files], file.astype(np.int32), offset,
                     duration, label, np.concatenate([manifest.speaker for manifest in manifests]))
    again = of != of[first_alike(file, label, offset, duration)]
    return whole.subset(np.flatnonzero(~again)) if again.any() else whole


def _refuse_leaks(parts: dict[str, Corpus]) -> None:
    for (a, trained), (b, tested) in permutations(parts.items(), 2):
        train = trained.splits["train"]
        files = set(map(_real, train.files))
        for split in ("dev", "test"):
            other = tested.splits[split]
            for what, both in (("speakers", _alike(other.speaker, train.speaker)),
                               ("recordings", {file for file in other.files if _real(file) in files})):
                if both:
                    raise UserError(f"{what} of the {split} split of {b!r} in the training of {a!r} ({len(both):,}): "
                                    f"{first_few(sorted(both))}; leave them out of one set, or rename speakers who "
                                    "are other people")


def _real(path: str) -> str:
    """The path that links lead to, at one look at each file: what a data set has is in few folders."""
    folder, name = os.path.split(path)
    path = os.path.join(_real_folder(folder), name)
    return os.path.realpath(path) if os.path.islink(path) else path


_real_folder = lru_cache(100_000)(os.path.realpath)


def _refuse_contradictions(name: str, parts: dict[str, Corpus], labels: Sequence[str]) -> None:
    """Raise UserError where the sets call one thing by two names, or two things by one."""
    if alike := twins(labels):
        raise UserError(f"--manifest {name}: labels {' and '.join(map(repr, alike[0]))} differ by case or blanks only; "
                        "spell the word the same way in all sets")
    for a, part in parts.items():
        if OTHER_WORDS in part.labels and (others := set(labels) - set(part.labels)):
            raise UserError(f"--manifest {name}: {OTHER_WORDS!r} of {a!r} stands for any word that this set does not "
                            f"name, and the others name {len(others):,} more: {first_few(sorted(others))}; join a set "
                            "without it")
    splits = [(a, manifest) for a, part in parts.items() for manifest in part.splits.values()]
    for m, i, n, j in under_two_labels([manifest for _, manifest in splits], _real):
        (a, one), (b, other) = splits[m], splits[n]
        if a != b:  # a set alone has been warned of
            raise UserError(f"--manifest {name}: {one[i].path} at {one.offset[i]:g} s is {other[j].label!r} in {b!r} "
                            f"and {one[i].label!r} in {a!r}; mend one of them")


def _tell_rates(name: str, parts: dict[str, Corpus]) -> None:
    """Warn where some sets were recorded at less than 16 kHz and others were not: a missing band tells them apart."""
    import soundfile

    lowest = {}
    for part, corpus in parts.items():
        files = corpus.splits["train"].files
        for path in files[::max(1, len(files) // _LOOKED_AT)][:_LOOKED_AT]:
            with suppress(OSError, ValueError, soundfile.SoundFileError):  # whoever decodes it has more to report
                check_regular(path)
                lowest[part] = min(soundfile.info(path).samplerate, lowest.get(part, _FULL_RATE))
    narrow = {part: rate for part, rate in lowest.items() if rate < _FULL_RATE}
    if narrow and len(narrow) < len(lowest):
        print(f"warning: --manifest {name}: recordings of " + ", ".join(
            f"{part!r} have {rate:,} Hz" for part, rate in narrow.items()) + f", all others {_FULL_RATE:,} or more: "
            "an encoder can tell the sets apart by the missing band; join sets of one rate, unless you want that",
            file=sys.stderr)


def _alike(names: Iterable[str | None], others: Iterable[str | None]) -> set[str]:
    """Those of ``names`` that are among ``others``, however they are written."""
    there = {folded(name) for name in set(others) - {None}}
    return {name for name in set(names) - {None} if folded(name) in there}
