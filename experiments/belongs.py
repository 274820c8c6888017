"""Which data a result belongs to: results of other data are never taken for these, nor averaged with them."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from data.base.errors import UserError
from data.base.files import file_digest, write_atomically
from data.manifests import Corpus, Manifest
from data.sources.noise import find_noise

_MARK = "data.json"  # in a cell's run: what data it was begun with
_NEW_WORDS = "new_words.json"  # and which new words it was looked at with, if it was
_NOISE = "noise.json"  # and which noise it was augmented with, if it was
_NOISE_DIR = "--noise_dir="  # of a cell's further flags


@dataclass(frozen=True)
class Data:
    """What a comparison trains and tests on.

    Attributes:
        content: hash of the train, dev and test manifests: each utterance's path, offset, duration and label.
        test_set: hash of the tested clips, as results have it that know no ``content``.
        new_words: hash of the words that the set holds out to judge an encoder by; None for none.
        noise: the set's folder of noise; None for none.
    """

    content: str
    test_set: str
    new_words: str | None = None
    noise: str | None = None

    def has(self, result: dict) -> bool:
        """Whether a result is of these data. One written before results had a ``data`` counts by its test set."""
        return (result.get("data", self.content) == self.content
                and result.get("test_set", self.test_set) == self.test_set  # enrolled words are another set's
                and result.get("new_words_set", self.new_words) == self.new_words
                and ("noise_set" not in result or result["noise_set"] == self.noise_of(
                    result["cell"]["augment"], result["cell"]["extra"])))

    def noise_of(self, augment: bool, extra: Sequence[str]) -> str | None:
        """The hash of the noise that a cell of these values is augmented with; None for a cell without.

        Its --noise_dir, or the set's own.
        """
        named = [flag.removeprefix(_NOISE_DIR) for flag in extra if flag.startswith(_NOISE_DIR)]
        folder = named[-1] if named else self.noise
        return hash_of_noise(folder) if augment and folder is not None else None


def data_of(corpus: Corpus, tested: Manifest | None = None, new_words: Manifest | None = None) -> Data:
    """What identifies a data set with all its splits.

    Args:
        tested: the clips of the test split that can be used, where bad ones are left out; None for all.
        new_words: the clips of words held out, if there are any.
    """
    tested = corpus.splits["test"] if tested is None else tested
    cut = bool(tested.offset.any())  # only then does a test's CSV have a column for it
    return Data(content_of(corpus.splits), hash_of_tested(
        (tested.files[file], f"{offset:.6f}" if cut else "", tested.labels[label])
        for file, offset, label in zip(tested.file, tested.offset, tested.label, strict=True)),
        None if new_words is None else content_of({"new_words": new_words}),
        None if corpus.noise is None else str(corpus.noise))


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
def hash_of_noise(folder: str) -> str:
    """Hash of the recordings of noise below a folder: each's path as seen from it, and content."""
    files = [(path.relative_to(folder).as_posix(), file_digest(path)) for path in find_noise(folder)[0]]
    return hashlib.sha1(json.dumps(files).encode()).hexdigest()


def make_room(folder: Path, data: Data, stale: bool, new_words: bool = False, noise: str | None = None) -> None:
    """Mark a cell's run as of these data; one of other data is set aside, so that it is not gone on with.

    Args:
        folder: the run's, there or not.
        stale: whether a run without a mark, from before there were any, is of other data.
        new_words: whether the run will be looked at with the new words of ``data``, which then are part of them.
        noise: the hash of what it will be augmented with, which then is part of them; None for nothing.
    """
    others = new_words and looked_at_with(folder) not in (None, data.new_words)
    if is_of_others(folder, data, stale, noise) or (folder.exists() and others):
        number = next(n for n in range(1, 1 << 20) if not _aside(folder, n).exists())
        folder.rename(_aside(folder, number))
        print(f"{folder}: is of other data; kept as {_aside(folder, number).name}", flush=True)
    for name, value, needed in ((_MARK, data.content, True), (_NEW_WORDS, data.new_words, new_words),
                                (_NOISE, noise, noise is not None)):
        if needed and not (folder / name).exists():
            with write_atomically(folder / name) as file:
                json.dump(value, file)


def is_of_others(folder: Path, data: Data, stale: bool, noise: str | None = None) -> bool:
    """Whether a cell's run is there and of other data, as `make_room` tells it."""
    if not folder.exists():
        return False
    began = _marked(folder, _MARK)
    if began is None:
        return stale
    return began != data.content or (noise is not None and augmented_with(folder) not in (None, noise))


def looked_at_with(folder: Path) -> str | None:
    """The hash of the new words that a run was looked at with; None if it was not, "" if that is not known any more."""
    return _marked(folder, _NEW_WORDS)


def augmented_with(folder: Path) -> str | None:
    """The hash of the noise that a run was augmented with; None if it was not, "" if that is not known any more."""
    return _marked(folder, _NOISE)


def _marked(folder: Path, name: str) -> str | None:
    """What a run was marked with; None for no such mark, "" for one that cannot be read."""
    try:
        return str(json.loads((folder / name).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return ""


def _aside(folder: Path, number: int) -> Path:
    return folder.with_name(f"{folder.name}.other-data-{number}")


@contextlib.contextmanager
def alone(runs_dir: Path, name: str) -> Iterator[None]:
    """Keep other comparisons out of a cell while it is run; where there are no locks, nothing.

    Raises:
        UserError: another one runs it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    folder = runs_dir / ".running"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = not (path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())))
        except BlockingIOError:
            taken = True
        except OSError:  # a network drive without locks
            taken = False
        if taken:
            raise UserError(f"{name}: another comparison is running it in {runs_dir}; run the same command again when "
                            "that is done")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
