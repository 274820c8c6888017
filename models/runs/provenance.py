"""What an encoder was trained on, so that a test can say which of its clips, speakers and words were in the training.

A run keeps 64-bit hashes of its training clips and speakers. A clip is recognised by its file and offset, or by its
sound, so copies and renamed files are found, also within longer recordings. A speaker is recognised by name among the
recordings of one folder, since the same number in another corpus is another person.
"""

from __future__ import annotations

import hashlib
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from data.audio.dataset import Clips
from data.audio.decoding import SAMPLE_RATE
from data.base.errors import UserError
from data.base.files import open_regular, read_npz, write_atomically
from data.base.labels import folded
from data.manifests.corpus import Corpus
from data.manifests.manifest import Manifest
from models.runs.checkpoints import Run, run_of

RECORD = "trained_on.npz"  # in a run's folder
_SAMPLED = 64  # samples of a clip, spread over it, that its sound is recognised by
_LEAST = 16  # of which at least so many are not zero: stretches of silence are alike
_ROWS = 1 << 16  # clips hashed at a time
_PRIMES = np.random.default_rng(0).integers(0, 2**63, _SAMPLED // 4, np.uint64) * np.uint64(2) + np.uint64(1)


@dataclass
class Record:
    """Sorted uint64 hashes of the training clips' places (file and offset), of their sounds, and of their speakers, one
    for each folder that a speaker's recordings lie in."""

    places: np.ndarray
    sounds: np.ndarray
    speakers: np.ndarray

    @classmethod
    def of(cls, clips: Clips, corpus: Corpus) -> Record:
        """Of clips, whose speakers are those of ``corpus``."""
        sounds, loud = _sounds(clips)
        return cls(np.unique(_places(clips.manifest)), np.unique(sounds[loud]),
                   np.unique(_speakers(clips.manifest, corpus)[0]))

    def __or__(self, other: Record | None) -> Record:
        """What either holds, as for an encoder that was trained further."""
        return self if other is None else Record(*map(np.union1d, vars(self).values(), vars(other).values()))

    def write(self, run: Run) -> None:
        with write_atomically(run.folder / RECORD, "wb") as file:
            np.savez(file, **vars(self))

    @classmethod
    def read(cls, run: Run) -> Record | None:
        """None for a run without a record, as those of the original's encoders."""
        path = run.folder / RECORD
        if not os.path.lexists(path):
            return None
        try:
            with open_regular(path) as file:
                return cls(**read_npz(file))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path}: not the record of a run's training clips ({error}); restore it, or remove it to "
                            "test without") from None

    def known(self, clips: Clips) -> np.ndarray:
        """(N,) bool, which clips are among those trained on."""
        sounds, loud = _sounds(clips)
        return np.isin(_places(clips.manifest), self.places) | loud & np.isin(sounds, self.sounds)

    def in_recording(self, path: str, samples: np.ndarray, start: float, length: int) -> bool:
        """Whether any stretch of a recording was trained on: (T,) int16 at 16 kHz, from ``start`` seconds of a file on.
        Found are clips of this file that begin anywhere in it; and under any name clips of ``length`` samples, the
        encoder's, and a clip that is all of ``samples``."""
        first = round(start * 1e4)
        offsets = np.arange(first, first + len(samples) * 10_000 // SAMPLE_RATE + 1, dtype=np.uint64) * _PRIMES[0]
        if any(np.isin(_mixed(np.uint64(_hash(name)) + offsets), self.places).any()
               for name in {os.path.abspath(path), os.path.realpath(path)}):
            return True
        length = min(length, len(samples))
        weights = np.repeat(_PRIMES, 4) << np.tile(np.uint64(16) * np.arange(4, dtype=np.uint64), len(_PRIMES))
        for begin in range(0, len(samples) - length + 1 if length else 0, _ROWS):
            part = samples[begin:begin + _ROWS + length - 1].astype(np.uint16).astype(np.uint64)
            sums = np.full(len(part) - length + 1, length, np.uint64)
            for at, weight in zip(_sampled(length), weights, strict=True):
                sums += part[at:at + len(sums)] * weight
            if np.isin(_mixed(sums), self.sounds).any():
                return True
        return False

    def seen(self, clips: Clips, corpus: Corpus, rows: np.ndarray | None = None) -> tuple[int, int, int]:
        """How many of the clips at ``rows`` (all by default) were trained on; of how many speakers, among how many."""
        rows = np.arange(len(clips)) if rows is None else rows
        hashes, of = _speakers(clips.manifest.subset(rows), corpus)
        return (int(self.known(clips)[rows].sum()), len(np.unique(of[np.isin(hashes, self.speakers)])),
                len(np.unique(of)))


def keep_record(run: Run, train: Clips, corpus: Corpus, resumed: dict, parents: Sequence[Run]) -> None:
    """Write the record of a run's training clips, with those of its ``parents``. Raises UserError for recordings of a
    ``resumed`` run that its record lacks: they have changed since."""
    record, before = Record.of(train, corpus), Record.read(run) if resumed else None
    if before and (changed := int((~np.isin(record.sounds, before.sounds)).sum())):
        raise UserError(f"--resume: {changed:,} of the {len(train):,} training clips of --manifest {corpus.name} sound "
                        f"otherwise than when run {run.name!r} was begun; restore the recordings, or choose another "
                        f"--name; to go on all the same, remove {run.folder / RECORD}")
    reduce(Record.__or__, [record, before, *map(Record.read, () if resumed else parents)]).write(run)


def trained_on(run: Run) -> tuple[Record | None, list[str]]:
    """What the encoder of a run was trained on, also before it was trained further, and which runs kept no record."""
    found: dict[Path, Record | None] = {}
    while run is not None and run.folder not in found and (run.folder.is_dir() or not found):
        found[run.folder], config = Record.read(run), run.config()
        run = None if "shipped" in config else run_of(config.get("init_from", ""))
    records = [record for record in found.values() if record is not None]
    return (reduce(Record.__or__, records) if records else None,
            [folder.name for folder, record in found.items() if record is None])


def tell_seen(runs: Sequence[Run], clips: Clips, corpus: Corpus, rows: np.ndarray | None = None) -> dict:
    """Print how many test clips (those at ``rows``) and speakers were in the training of any of these runs, if any
    were; the same as facts, what is printed under a name that begins with "note"."""
    found, facts = [trained_on(run) for run in runs], {}
    records = [record for record, _ in found if record is not None]
    if lacking := {name: None for _, names in found for name in names}:
        facts["note on records"] = (f"run {' and '.join(map(repr, lacking))} kept no record of its training clips, so "
                                    "that test clips may have been among them")
    if records:
        seen, speakers, among = reduce(Record.__or__, records).seen(clips, corpus, rows)
        if seen or speakers:
            names = " or ".join(map(repr, dict.fromkeys(run.name for run in runs)))
            facts["note on training"] = (
                f"{seen:,} of the {len(clips) if rows is None else len(rows):,} test clips and {speakers:,} of the "
                f"{among:,} test speakers were in the training of run {names}: the figures are not those of new "
                "recordings")
    for note in facts.values():
        print(note)
    return facts | ({"test_clips_trained_on": seen, "test_speakers_trained_on": speakers} if records else {})


def tell_shared(train: Clips, test: Clips, corpus: Corpus, what: str, among: str = "training clips",
                rows: np.ndarray | None = None, refuse: bool = False) -> dict:
    """Warn of test clips (those at ``rows``) that are among ``train``, under whatever name and lossless format; the
    same as facts. ``what`` and ``among`` name both to the user; if ``refuse``, it is a UserError."""
    rows = np.arange(len(test)) if rows is None else rows
    known = rows[Record.of(train, corpus).known(test)[rows]]
    if not len(known):
        return {}
    message = (f"{len(known):,} of the {len(rows):,} {what} clips are {among}, too, such as "
               f"{test.manifest.files[test.manifest.file[known[0]]]}")
    if refuse:
        raise UserError(f"--manifest {corpus.name}: {message}; leave them out of one set")
    message += ": the figures are too good"
    print(f"warning: {message}", file=sys.stderr)
    return {f"{what}_clips_in_train": len(known), "note on shared clips": message}


def trained_words(config: dict) -> list[str]:
    """The labels that the encoder of a run of this configuration was trained on, also before it was trained further."""
    return list(dict.fromkeys([*config.get("labels", ()), *config.get("labels_before", ())]))


def known_words(labels: Sequence[str], config: dict) -> list[str]:
    """Those of the labels that are among `trained_words`."""
    trained = {folded(label) for label in trained_words(config)}
    return [label for label in labels if folded(label) in trained]


def tell_changed(run: Run, config: dict, args: Namespace, corpus: Corpus) -> dict:
    """Print that the data set has other training clips or labels than when a run was trained on it; that as facts."""
    begun = config.get("arguments", {})
    same = begun.get("manifest") == args.manifest and \
        os.path.abspath(str(begun.get("registry"))) == os.path.abspath(args.registry)
    if same and config.get("train_manifest", "") not in ("", fingerprint(corpus.splits["train"])):
        message = (f"--manifest {args.manifest} has other training clips or labels than when run {run.name!r} was "
                   "trained on it")
        print(message)
        return {"manifest_changed_since_training": True, "note on the manifest": message}
    return {}


def fingerprint(manifest: Manifest) -> str:
    """A hash of what a manifest says: its labels, and each line's file (as seen from the manifest), part and label."""
    folder, digest = os.path.abspath(manifest.path.parent), hashlib.sha256()
    seen = {name: os.path.relpath(name, folder) for name in {os.path.dirname(file) for file in manifest.files}}
    for names in (manifest.labels, (os.path.join(seen[os.path.dirname(file)], os.path.basename(file))
                                    for file in manifest.files)):
        digest.update("\0".join(names).encode(errors="surrogateescape") + b"\0\0")
    for column, kind in (("file", "<i8"), ("offset", "<f8"), ("duration", "<f8"), ("label", "<i8")):
        digest.update(np.ascontiguousarray(getattr(manifest, column), kind).tobytes())
    return digest.hexdigest()


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest(), "little")


def _places(manifest: Manifest) -> np.ndarray:
    """(N,) hashes of file and offset, to a tenth of a millisecond."""
    files = np.array([_hash(file) for file in manifest.files], np.uint64)
    return _mixed(files[manifest.file] + np.rint(manifest.offset * 1e4).astype(np.uint64) * _PRIMES[0])


def _sounds(clips: Clips) -> tuple[np.ndarray, np.ndarray]:
    """(N,) hashes of sampled values, and (N,) bool, whether enough of these are not zero."""
    packed, found, loud = clips.packed, [], []
    for start in range(0, len(clips), _ROWS):
        rows = clips.rows[start:start + _ROWS]
        length = packed.length[rows].astype(np.int64)[:, None]
        position = _sampled(length)  # (n, 64)
        samples = np.ascontiguousarray(packed.samples[packed.start[rows].astype(np.int64)[:, None] + position], "<i2")
        found.append(_mixed((samples.view(np.uint64) * _PRIMES).sum(1, dtype=np.uint64)
                            + length[:, 0].astype(np.uint64)))
        loud.append((samples != 0).sum(1) >= _LEAST)
    return np.concatenate(found), np.concatenate(loud)


def _sampled(length: np.ndarray | int) -> np.ndarray:
    """Positions of the values that clips of so many samples are recognised by, in the last axis."""
    return length * (2 * np.arange(_SAMPLED) + 1) // (2 * _SAMPLED)


def _speakers(manifest: Manifest, corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """(H,) hashes of the distinct speakers, and (H,) the number of the speaker that each is of. A speaker is hashed
    with the folder that all training recordings of the corpus lie in, and with each folder between it and the speaker's
    own recordings: a set that was joined with another has another common folder in a test."""
    top = os.path.commonpath({os.path.dirname(file) for file in corpus.splits["train"].files})
    places: dict[str, set[str]] = {}
    for speaker, file in zip(manifest.speaker, manifest.file, strict=True):
        if speaker is None:
            continue
        known, folder = places.setdefault(str(speaker), {top}), os.path.dirname(manifest.files[file])
        while folder not in known and folder.startswith(os.path.join(top, "")):
            known.add(folder)
            folder = os.path.dirname(folder)
    hashes = [(_hash(f"{place}\0{name}"), number) for number, (name, known) in enumerate(places.items())
              for place in known]
    return np.array([one for one, _ in hashes], np.uint64), np.array([number for _, number in hashes], np.int64)


def _mixed(keys: np.ndarray) -> np.ndarray:
    """Every bit of (N,) uint64 made to depend on all (the finaliser of splitmix64, Steele et al., 2014)."""
    keys = (keys ^ keys >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ keys >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return keys ^ keys >> np.uint64(31)
