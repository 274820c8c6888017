"""Check a registered data set again: files, durations, labels, and that no speaker and no audio is in two splits.

Words held out as new, and noise, are looked at too.
"""

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from data.audio.decoding import PAST_END, decode
from data.audio.files import find_noise
from data.base import values
from data.base.cores import each
from data.base.errors import UserError, exit_cleanly, first_few
from data.base.labels import look_alike, one_form
from data.manifests.corpus import trained_on
from data.manifests.manifest import Manifest, in_two_splits, joined, read_manifest
from data.manifests.registry import REGISTRY, SPLITS, registered
from data.sources.splits import hear

SHOWN = 5  # problems of each kind
_CHUNK = 1_000  # clips a task

Problems = defaultdict[str, list[str]]  # messages by kind


def check(name: str, registry: str | Path = REGISTRY, clip_seconds: float = 1.0) -> bool:
    """Check a registered data set; print its counts, its problems, what is odd but may be meant, and one verdict line.

    Every clip is decoded as training would (the central ``clip_seconds`` of it), so memory follows the number of
    clips, never the length of the audio. Returns whether there was no problem; a warning is none. Raises UserError for
    a name that is not registered.
    """
    entry, folder = registered(name, registry), Path(registry).absolute().parent
    problems, warnings = defaultdict(list), defaultdict(list)
    splits, labels = _read(name, entry, Path(registry), problems)
    print(*_counts(splits, labels), sep="\n")
    _check_labels(splits, labels, problems)
    for lines in in_two_splits(splits).values():
        problems["speakers in two splits"] += lines
    clips = Clips.of(splits)
    _check_audio(name, clips, clip_seconds, problems, warnings)
    _check_overlaps(clips, problems)
    if "new_words" in entry:
        _check_new_words(folder / entry["new_words"], splits.get("train"), clip_seconds, problems, warnings)
    if "noise" in entry:
        _check_noise(folder / entry["noise"], problems)
    for line in look_alike(dict.fromkeys(label for manifest in splits.values() for label in manifest.labels)):
        warnings["labels that look alike"].append(line)
    for before, found in (("", problems), ("warning: ", warnings)):
        for kind, messages in found.items():
            print(f"{before}{kind}: {len(messages):,}", *messages[:SHOWN], sep="\n  ")
    counts = ", ".join(f"{len(manifest):,} {split}" for split, manifest in splits.items()) or "no"
    if total := sum(map(len, problems.values())):
        print(f"{name}: {total:,} problem{'s' * (total > 1)} ({', '.join(problems)}) in {counts} clips")
        return False
    odd = f" but for {sum(map(len, warnings.values())):,} warnings" if warnings else ""
    print(f"{name}: OK{odd}, {counts} clips of {len(labels)} classes; all readable, no known speaker and no audio in "
          "two splits")
    return True


def _read(name: str, entry: dict, registry: Path, problems: Problems) -> tuple[dict[str, Manifest], list[str]]:
    """The manifests that can be read, and the labels: the registered ones or those of train."""
    splits: dict[str, Manifest] = {}
    for split in SPLITS:
        if not isinstance(entry.get(split), str):
            problems["broken manifests"].append(f"{registry}: entry {name!r} has no {split!r} manifest")
            continue
        try:
            splits[split] = read_manifest(registry.absolute().parent / entry[split])
        except UserError as error:
            made_by = f"; make it with: {entry['made_by']}" if "made_by" in entry else ""
            problems["broken manifests"].append(f"{error}{made_by}")
    labels = entry.get("labels") or (splits["train"].labels if "train" in splits else [])
    return splits, list(map(one_form, labels))


def _counts(splits: dict[str, Manifest], labels: list[str]) -> Iterator[str]:
    for split, manifest in splits.items():
        clips = manifest.counts()
        speakers = len(set(manifest.speaker) - {None})
        absent = sorted(set(labels) - set(manifest.labels))
        yield (f"{split + ':':<6} {len(manifest):>9,} clips of {len(manifest.labels):,} classes "
               f"({clips.min():,} to {clips.max():,} each, median {np.median(clips):,.0f}), {speakers:,} speakers, "
               f"{manifest.duration.sum() / 3600:.2f} h" + (f"; none of: {first_few(absent, 8)}" if absent else ""))
        if without := sum(speaker is None for speaker in manifest.speaker):
            yield f"       {without:,} of them name no speaker, so only their audio can be compared"


def _check_labels(splits: dict[str, Manifest], labels: list[str], problems: Problems) -> None:
    for split, manifest in splits.items():
        counts = dict(zip(manifest.labels, manifest.counts(), strict=True))
        for label in sorted(set(counts) - set(labels)) if labels else ():
            problems["unknown labels"].append(f"{manifest.path}: {label!r} ({counts[label]:,} clips) is not one of the "
                                              f"{len(labels):,} known labels")
        for label in (label for label in labels if split == "train" and label not in counts):
            problems["classes without training clips"].append(f"{manifest.path}: no clip of label {label!r}")


@dataclass
class Clips:
    """The N clips of all splits, sorted by file and offset; a link is the file it points to."""

    paths: list[str]
    splits: list[str]
    words: list[str]
    file: np.ndarray  # (N,) index into paths; so split and label
    split: np.ndarray
    label: np.ndarray
    offset: np.ndarray  # (N,) seconds
    duration: np.ndarray

    @classmethod
    def of(cls, splits: dict[str, Manifest]) -> "Clips":
        files, words, columns = joined(list(splits.values()), os.path.realpath)
        file, label, split, offset, duration = (x[np.lexsort((columns[3], columns[0]))] for x in columns)
        return cls(files, list(splits), words, file, split, label, offset, duration)

    def place(self, i: int) -> str:
        return f"{self.paths[self.file[i]]} at {self.offset[i]:g} s"

    def word(self, i: int) -> str:
        return f"{self.words[self.label[i]]!r} in {self.splits[self.split[i]]}"


def _check_audio(name: str, clips: Clips, clip_seconds: float, problems: Problems, warnings: Problems) -> None:
    """Decode every clip, and compare what was heard between the splits and the labels."""
    first_of: dict[bytes, int] = {}  # digest of the samples -> first clip
    places = list(zip([clips.paths[f] for f in clips.file], clips.offset, clips.duration, strict=True))
    for i, found in enumerate(each(partial(hear, longest=clip_seconds), places, _CHUNK, f"checking {name}", " clips")):
        split = clips.splits[clips.split[i]]
        if isinstance(found, str):
            problems["unusable audio" if os.path.exists(places[i][0]) else "missing files"].append(f"{split}: {found}")
            continue
        _, remarks, digest = found
        for remark in remarks:
            if remark != PAST_END:
                warnings[f"clips that {remark}"].append(f"{split}: {clips.place(i)}")
        if PAST_END in remarks:
            problems["wrong durations"].append(f"{split}: {clips.place(i)}: the file ends before the "
                                               f"{clips.duration[i]:g} s do that the manifest gives")
            continue
        first = first_of.setdefault(digest, i)
        same = f"{clips.place(i)}, {clips.word(i)}, has the same audio as {clips.place(first)}, {clips.word(first)}"
        if clips.label[first] != clips.label[i]:
            problems["one recording under two labels"].append(same)
        if clips.split[first] != clips.split[i]:
            problems["audio in two splits"].append(same)


def _check_overlaps(clips: Clips, problems: Problems) -> None:
    """Stretches of one file that overlap and are in different splits."""
    reach: dict[int, int] = {}  # split -> the clip that ends last so far
    end = clips.offset + clips.duration
    for i, split in enumerate(clips.split.tolist()):
        if i and clips.file[i] != clips.file[i - 1]:
            reach = {}
        for other, j in reach.items():
            equal = clips.offset[i] == clips.offset[j] and end[i] == end[j]  # then the digests have told
            if other != split and end[j] > clips.offset[i] + 1e-6 and not equal:
                problems["overlapping audio in two splits"].append(
                    f"{clips.place(i)} to {end[i]:g} s in {clips.splits[split]}, {clips.offset[j]:g} s to {end[j]:g} s "
                    f"in {clips.splits[other]}")
        if split not in reach or end[i] > end[reach[split]]:
            reach[split] = i


def _check_new_words(path: Path, train: Manifest | None, clip_seconds: float, problems: Problems,
                     warnings: Problems) -> None:
    """The words held out to judge an encoder by: usable, and neither they nor who says them are trained on."""
    try:
        new = read_manifest(path)
    except UserError as error:
        problems["broken manifests"].append(str(error))
        return
    print(*_counts({path.stem: new}, []), sep="\n")
    _check_audio(path.stem, Clips.of({path.stem: new}), clip_seconds, problems, warnings)
    for what, both in trained_on(new, train) if train is not None else ():
        problems[f"{what} held out as new that are trained on"].append(f"{path}: {first_few(sorted(both))}")


def _check_noise(folder: Path, problems: Problems) -> None:
    """Decode the recordings of noise, as training does."""
    files = find_noise(folder)
    if not files:
        problems["noise folder"].append(f"{folder}: has no audio files in it")
    for file in files:
        try:
            decode(str(file))
        except UserError as error:
            problems["noise folder"].append(str(error))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.check", description="Check a registered data set: files, durations, labels, and that no "
        "speaker and no audio is in two splits. Exit code 0 if all is well, 1 if not.",
        epilog="example: python -m data.check 35", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("name", help="a data set of the registry")
    parser.add_argument("--clip_seconds", type=values.clip_seconds, default=1.0, metavar="S",
                        help="length of the clips that training will read; longer ones are decoded around their centre")
    parser.add_argument("--registry", type=Path, default=REGISTRY, metavar="FILE", help="registry of data sets")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    return int(not check(args.name, args.registry, args.clip_seconds))


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
