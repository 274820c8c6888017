"""Several registered data sets as one: ``--manifest a+b``.

Labels are joined by name. What one set holds out for its dev and test splits must not be in another's training: neither
a speaker, nor a recording; nor may a word that is held out to judge new words by be trained on.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from data.base.errors import UserError
from data.manifests import REGISTRY, SPLITS, Corpus, Manifest, load_corpus, read_manifest, read_registry, registered

JOIN = "+"
_NAMED = 5  # in a message, at most


def load(name: str, splits: Sequence[str] = SPLITS, registry: str | Path = REGISTRY) -> Corpus:
    """The data set, or the sets joined by ``+``, that a ``--manifest`` names.

    Returns:
        a corpus with the union of the labels, sorted; ``parts`` is (C,) the set, by its place in the name, in which a
        label came first. Noise is that of the first set that has some.

    Raises:
        UserError: as `data.manifests.load_corpus`; one set trains on what another holds out; two labels differ by case
            only; a set twice.
    """
    names = parts_of(name, registry)
    if len(names) == 1:
        return load_corpus(name, splits, registry)
    if len(set(names)) < len(names):
        raise UserError(f"--manifest {name}: names a data set twice; leave one out")
    for part in names:
        registered(part, registry)  # the plain message for a name that is not there
    parts = [load_corpus(part, SPLITS, registry) for part in names]
    _refuse_leaks(names, parts)
    labels = sorted(set().union(*(part.labels for part in parts)))
    folded: dict[str, str] = {}
    for label in labels:
        if (other := folded.setdefault(label.casefold(), label)) != label:
            raise UserError(f"--manifest {name}: labels {other!r} and {label!r} differ by case only; spell the word "
                            "the same way in all sets")
    place = {label: i for i, label in enumerate(labels)}
    first = {}
    for i, part in enumerate(parts):
        for label in part.labels:
            first.setdefault(label, i)
    joined = {split: concatenate([part.splits[split] for part in parts], labels, place) for split in splits}
    return Corpus(name, labels, joined, next((part.noise for part in parts if part.noise), None),
                  np.array([first[label] for label in labels]))


def parts_of(name: str, registry: str | Path = REGISTRY) -> list[str]:
    """The names that a ``--manifest`` joins; a name that is registered as it is stands for itself."""
    return [name] if JOIN not in name or name in read_registry(registry) else name.split(JOIN)


def new_words(corpus: Corpus, registry: str | Path = REGISTRY) -> Manifest:
    """The clips of words held out to judge an encoder by, of the set or of all joined sets that have such.

    Raises:
        UserError: no set has any, or one of the words, or of their speakers, is in ``corpus``'s training.
    """
    folder, paths = Path(registry).absolute().parent, {}
    for part in parts_of(corpus.name, registry):
        if isinstance(path := registered(part, registry).get("new_words"), str):
            paths.setdefault((folder / path).resolve(), folder / path)  # sets may hold out the same words
    found = [read_manifest(path) for path in paths.values()]
    if not found:
        raise UserError(f"--manifest {corpus.name} has no words held out as new; make a set that has, with python -m "
                        "data.libriwords --new_words")
    labels = sorted(set().union(*(manifest.labels for manifest in found)))
    held = concatenate(found, labels, {label: i for i, label in enumerate(labels)})
    train = corpus.splits["train"]
    for what, both in (("words", set(labels) & set(train.labels)),
                       ("speakers", (set(held.speaker) - {None}) & set(train.speaker))):
        if both:
            raise UserError(f"{len(both):,} {what} held out as new are in the training of --manifest {corpus.name}: "
                            f"{', '.join(sorted(both)[:_NAMED])}; leave them out of it")
    return held


def concatenate(manifests: Sequence[Manifest], labels: list[str], place: dict[str, int]) -> Manifest:
    """The utterances of several manifests, one after another, with classes by ``place`` in ``labels``."""
    files: dict[str, int] = {}
    file, label = [], []
    for manifest in manifests:
        number = np.array([files.setdefault(path, len(files)) for path in manifest.files], np.int32)
        file.append(number[manifest.file])
        label.append(np.array([place[name] for name in manifest.labels], np.int32)[manifest.label])
    columns = {column: np.concatenate([getattr(manifest, column) for manifest in manifests])
               for column in ("offset", "duration", "speaker")}
    return Manifest(manifests[0].path, labels, list(files), np.concatenate(file), columns["offset"],
                    columns["duration"], np.concatenate(label), columns["speaker"])


def _refuse_leaks(names: Sequence[str], parts: Sequence[Corpus]) -> None:
    for a, trained in zip(names, parts, strict=True):
        train = trained.splits["train"]
        speakers, files = set(train.speaker) - {None}, {train.files[i] for i in np.unique(train.file)}
        for b, held in zip(names, parts, strict=True):
            if a == b:
                continue
            for split in ("dev", "test"):
                other = held.splits[split]
                _refuse(speakers & set(other.speaker), "speaker", a, b, split)
                _refuse(files & {other.files[i] for i in np.unique(other.file)}, "recording", a, b, split)


def _refuse(both: Iterable[str], what: str, trained: str, held: str, split: str) -> None:
    if found := sorted(both):
        more = f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
        raise UserError(f"{what}{'s' * (len(found) > 1)} of the {split} split of {held!r} in the training of "
                        f"{trained!r} ({len(found):,}): {', '.join(found[:_NAMED])}{more}; leave them out of one set")
