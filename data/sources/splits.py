"""What every data source does once it knows its utterances: hear, split by speaker, check, count, write, register.

A hash of the speaker's name divides many speakers. Among thirty it may leave 5 or 20 % of the clips for testing: then
it gives the start, and swaps of speakers improve it, so that each split has its share of clips and every class.
"""

import hashlib
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tabulate import tabulate

from data.audio.decoding import SAMPLE_RATE, decode_with_remarks
from data.base.cores import each
from data.base.errors import UserError, first_few
from data.base.labels import folded
from data.manifests.manifest import Utterance, write_manifest
from data.manifests.registry import REGISTRY, SPLITS, register

Splits = dict[str, list[Utterance]]  # "train", "dev", "test"
Digests = dict[tuple[str, float], bytes]  # by path and offset: SHA-1 of the clip's 16 kHz samples
SHARES = (0.8, 0.1, 0.1)  # of the clips, in the order of SPLITS
_SLACK = 0.01  # how far from its share a split may be before that counts
_GOOD = 1e-6  # no class short, and the shares met to a thousandth
_TRIES, _RESTARTS = 8_000, 4
_CHUNK = 500  # clips decoded per task


def split_of(speaker: str, dev_percent: float = 10, test_percent: float = 10) -> str:
    """The split of a speaker by the Speech Commands hash rule: adding recordings never moves anyone.

    Anything after ``_nohash_`` is ignored. SHA-1 of the name, modulo 2**27, as a percentage: the first
    ``dev_percent`` are dev, the next ``test_percent`` test (Warden, 2018, arXiv:1804.03209, section 6.3).
    """
    name = re.sub(r"_nohash_.*$", "", speaker).encode(errors="surrogateescape")  # decoding refuses such file names
    digest = hashlib.sha1(name).hexdigest()
    percent = int(digest, 16) % 2**27 * (100.0 / (2**27 - 1))
    return "dev" if percent < dev_percent else "test" if percent < dev_percent + test_percent else "train"


def balanced_split(speakers: Sequence[str], counts: np.ndarray, shares: Sequence[float] = SHARES) -> np.ndarray:
    """The split of every speaker: clips close to ``shares``, and as many classes as possible in all three.

    Deterministic, and independent of the order of the speakers. A class that is missing from a split, or has there
    less than half of its share, weighs the more, the more clips it has.

    Args:
        speakers: S distinct names.
        counts: (S, W) clips of each speaker and class.
        shares: of the clips, in the order of `SPLITS`; each above 0, together 1.

    Returns:
        (S,) int, index into `SPLITS`.
    """
    order = sorted(range(len(speakers)), key=lambda s: hashlib.sha1(speakers[s].encode()).hexdigest())
    counts = np.asarray(counts, np.int32)[order]
    counts = counts[:, (counts > 0).sum(0) >= len(SPLITS)]  # the others cannot be in three splits
    if not counts.size:  # nothing to balance but the speakers themselves
        counts = np.ones((len(order), 1), np.int32)
    clips = counts.sum(1)
    total = max(int(clips.sum()), 1)
    weight = counts.sum(0, dtype=float) ** 1.5  # frequent words first, but not them alone
    weight /= max(weight.sum(), 1.0)
    per_expected = 1 / (np.asarray(shares)[:, None] * counts.sum(0))  # (3, W)

    def cost(have: np.ndarray) -> float:
        off = np.abs(have.sum(1) / total - shares)
        short = np.maximum(0.5 - have * per_expected, 0).max(0) + 0.5 * (have == 0).any(0)
        return weight @ short + 10 * np.maximum(off - _SLACK, 0).sum() + 1e-3 * off.sum()

    found = [_mend(_start(clips, total, shares), counts, cost, np.random.default_rng(seed))
             for seed in range(_RESTARTS)]
    part = min(found, key=lambda pair: pair[0])[1]
    result = np.empty(len(order), int)
    result[order] = part
    return result


def _mend(part: np.ndarray, counts: np.ndarray, cost: Callable[[np.ndarray], float],
          rng: np.random.Generator) -> tuple[float, np.ndarray]:
    """Move or swap random speakers wherever that lowers the cost; returns it and the split of each speaker."""
    have = np.stack([counts[part == s].sum(0) for s in range(len(SPLITS))])  # (3, W)
    best = cost(have)
    tries = min(_TRIES, 40 * len(part) ** 2)  # a handful of speakers has few pairs to try
    speakers = rng.integers(len(part), size=(tries, 2))
    for (first, second), alone in zip(speakers, rng.random(tries) < 0.3, strict=True):
        a, b = part[first], part[second]
        if best < _GOOD:
            break
        if a == b or (alone and (part == a).sum() == 1):
            continue
        moved = have.copy()  # `first` goes to the split of `second`, and unless `alone` the other way round
        difference = counts[first] if alone else counts[first] - counts[second]
        moved[a] -= difference
        moved[b] += difference
        if (new := cost(moved)) < best:
            have, best = moved, new
            part[first] = b
            if not alone:
                part[second] = a
    return best, part


def _start(clips: np.ndarray, total: int, shares: Sequence[float]) -> np.ndarray:
    """Each speaker in turn to the split that lacks most of its share."""
    part, filled = np.zeros(len(clips), int), np.zeros(len(SPLITS))
    for s, n in enumerate(clips):
        part[s] = np.argmax((np.asarray(shares) - filled / total) / shares)
        filled[part[s]] += n
    for split in range(1, min(len(SPLITS), len(clips))):  # a handful of speakers: no split stays empty
        if not (part == split).any():
            part[np.flatnonzero(part == 0)[-1]] = split
    return part


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


def vet(clips: Sequence[Utterance], skip_bad_audio: bool = False) -> tuple[list[Utterance], Digests]:
    """The usable clips with their true durations, in order, and their hashes; what is odd goes to stderr.

    A duration of 0 stands for the whole file. Clips that cannot be used are left out and named with ``skip_bad_audio``;
    without it, or if none can be used, raises UserError.
    """
    places = [(clip.path, clip.offset, clip.duration or None) for clip in clips]
    found = list(each(hear, places, _CHUNK, "checking audio", " clips"))
    bad = [result for result in found if isinstance(result, str)]
    if bad and (not skip_bad_audio or len(bad) == len(clips)):
        raise UserError(f"{bad[0]} ({len(bad):,} of {len(clips):,} clips cannot be used); "
                        "mend them, or leave them out with --skip_bad_audio")
    if bad:
        print(f"leaving out {len(bad):,} of {len(clips):,} clips that cannot be used: {first_few(bad, 3)}",
              file=sys.stderr)
    usable, digests, remarks = [], {}, []
    for clip, result in zip(clips, found, strict=True):
        if not isinstance(result, str):
            duration, odd, digests[clip.path, clip.offset] = result
            usable.append(replace(clip, duration=duration))
            remarks.append((clip.path, odd))
    for line in doubtful(remarks):
        print(f"warning: {line}", file=sys.stderr)
    return usable, digests


def doubtful(clips: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """Lines that count the clips (path, remarks of `decode_with_remarks`) about which something is odd."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path, remarks in clips:
        for remark in remarks:
            found[remark].append(path)
    return [f"{len(paths):,} clips {remark}: {first_few(paths, 3)}" for remark, paths in found.items()]


def contradictions(clips: Iterable[Utterance], digests: Digests) -> list[tuple[Utterance, Utterance]]:
    """Pairs of clips with the same audio and different labels, of which one must be wrong: each with the first."""
    first: dict[bytes, Utterance] = {}
    pairs = []
    for clip in clips:
        twin = first.setdefault(digests[clip.path, clip.offset], clip)
        if twin.label != clip.label:
            pairs.append((twin, clip))
    return pairs


def without_copies(splits: Splits, digests: Digests, drop_duplicates: bool) -> Splits:
    """Splits that share no audio: of two copies the one in test stays, else the one in dev; the other is named. Raises
    UserError where there are copies and ``drop_duplicates`` is off."""
    first: dict[bytes, tuple[str, Utterance]] = {}
    kept, copies = {split: [] for split in splits}, []
    for split in ("test", "dev", "train"):
        for clip in splits[split]:
            other, twin = first.setdefault(digests[clip.path, clip.offset], (split, clip))
            if other == split:
                kept[split].append(clip)
            else:
                copies.append(f"{clip.path} ({split}) = {twin.path} ({other})")
    if copies and not drop_duplicates:
        raise UserError(f"{len(copies):,} clips have the same audio as one of another split: {first_few(copies, 3)}; "
                        "leave the copies in training (or, of dev and test, in dev) out with --drop_duplicates")
    if copies:
        print(f"left out {len(copies):,} copies of other splits' audio: {first_few(copies, 3)}", file=sys.stderr)
    return kept


def hear(clips: Sequence[tuple[str, float, float | None]], longest: float | None = None
         ) -> list[tuple[float, list[str], bytes] | str]:
    """Of each clip (path, offset, duration) its length, what is odd about it and its hash; or why it cannot be used.
    ``longest`` as in `decode_with_remarks`."""
    results: list[tuple[float, list[str], bytes] | str] = []
    for path, offset, duration in clips:
        try:
            samples, remarks = decode_with_remarks(path, offset, duration, longest)
            results.append((len(samples) / SAMPLE_RATE, remarks, hashlib.sha1(samples.tobytes()).digest()))
        except UserError as error:
            results.append(str(error))
    return results
