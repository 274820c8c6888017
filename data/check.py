"""Check a registered data set again: files, durations, labels, and that no speaker and no audio is in two splits.

Words held out as new, and noise, are looked at too.

    python -m data.check 35
"""

import argparse
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from data.base.errors import UserError, exit_cleanly
from data.base.labels import folded, look_alike, one_form
from data.base.messages import first_few
from data.manifests.doubts import SAME
from data.manifests.manifest import Manifest, read_manifest
from data.manifests.registry import REGISTRY, SPLITS, registered

_CHUNK = 1_000    # clips a task


class Problems:
    """Counts of every kind of problem, with the first few of each kind."""

    def __init__(self, show: int):
        self.show = show
        self.count: Counter[str] = Counter()
        self.first: dict[str, list[str]] = {}

    def add(self, kind: str, message: str) -> None:
        self.count[kind] += 1
        if self.count[kind] <= self.show:
            self.first.setdefault(kind, []).append(message)

    def lines(self) -> Iterator[str]:
        for kind, count in self.count.items():
            yield f"{kind}: {count:,}"
            yield from (f"  {message}" for message in self.first.get(kind, []))
            if (more := count - len(self.first.get(kind, []))) and self.show:
                yield f"  ... and {more:,} more"


def check(name: str, registry: str | Path = REGISTRY, clip_seconds: float = 1.0, show: int = 5) -> bool:
    """Check a registered data set, print its counts, its problems, what is odd but may be meant, and one verdict line.

    Every clip is decoded as training would (the central ``clip_seconds`` of it), so memory follows the number of
    clips, never the length of the audio.

    Returns:
        Whether there was no problem; what is odd, a warning, is none.

    Raises:
        UserError: ``name`` is not registered.
    """
    entry = registered(name, registry)
    problems, warnings = Problems(show), Problems(show)
    splits, labels = _read(name, entry, Path(registry), problems)
    for line in _counts(splits, labels):
        print(line)
    _check_labels(splits, labels, problems)
    _check_speakers(splits, problems)
    _check_audio(name, splits, clip_seconds, problems, warnings)
    if "new_words" in entry:
        _check_new_words(Path(registry).absolute().parent / entry["new_words"], splits.get("train"), clip_seconds,
                         problems, warnings)
    if "noise" in entry:
        _check_noise(Path(registry).absolute().parent / entry["noise"], problems)
    for line in look_alike(dict.fromkeys(label for manifest in splits.values() for label in manifest.labels)):
        warnings.add("labels that look alike", line)
    for line in problems.lines():
        print(line)
    for line in warnings.lines():
        print(line if line.startswith("  ") else f"warning: {line}")
    clips = ", ".join(f"{len(manifest):,} {split}" for split, manifest in splits.items()) or "no"
    if total := problems.count.total():
        print(f"{name}: {total:,} problem{'s' * (total > 1)} ({', '.join(problems.count)}) in {clips} clips")
        return False
    speakers = {speaker for manifest in splits.values() for speaker in manifest.speaker} - {None}
    hours = sum(manifest.duration.sum() for manifest in splits.values()) / 3600
    unnamed = sum(speaker is None for manifest in splits.values() for speaker in manifest.speaker)
    odd = f" but for {warnings.count.total():,} warnings" if warnings.count else ""
    print(f"{name}: OK{odd}, {clips} clips of {len(labels)} classes, {len(speakers):,} speakers, {hours:.2f} h; "
          "all readable, no speaker and no audio in two splits"
          + f", as far as is known: {unnamed:,} clips name no speaker" * bool(unnamed))
    return True


def _read(name: str, entry: dict, registry: Path, problems: Problems) -> tuple[dict[str, Manifest], list[str]]:
    """The manifests that can be read, and the labels: the registered ones or those of train."""
    splits: dict[str, Manifest] = {}
    for split in SPLITS:
        if not isinstance(entry.get(split), str):
            problems.add("broken manifests", f"{registry}: entry {name!r} has no {split!r} manifest")
            continue
        try:
            splits[split] = read_manifest(registry.absolute().parent / entry[split])
        except UserError as error:
            made_by = f"; make it with: {entry['made_by']}" if "made_by" in entry else ""
            problems.add("broken manifests", f"{error}{made_by}")
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
            problems.add("unknown labels", f"{manifest.path}: {label!r} ({counts[label]:,} clips) is not one of the "
                         f"{len(labels):,} known labels")
        for label in (label for label in labels if split == "train" and label not in counts):
            problems.add("classes without training clips", f"{manifest.path}: no clip of label {label!r}")


def _check_speakers(splits: dict[str, Manifest], problems: Problems) -> None:
    home: dict[str, tuple[str, str]] = {}
    for split, manifest in splits.items():
        for speaker in sorted(set(manifest.speaker) - {None}):
            first, other = home.setdefault(folded(speaker), (split, speaker))
            if first != split:
                spelt = "" if speaker == other else f"as {speaker!r} "
                problems.add("speakers in two splits", f"speaker {other!r} is in {first} and {spelt}in {split}")


def _check_audio(name: str, splits: dict[str, Manifest], clip_seconds: float, problems: Problems,
                 warnings: Problems) -> None:
    """Open every file once, decode every clip, and compare what was heard between the splits and the labels."""
    from tqdm import tqdm

    from data.audio.decoding import TOLERANCE
    from data.base.cores import ordered_map

    names = list(splits)
    files: dict[str, int] = {}  # by real path, so that a link is the file it points to
    words: dict[str, int] = {}
    columns = []                # file, split, offset, duration, label
    for s, manifest in enumerate(splits.values()):
        ids = np.array([files.setdefault(os.path.realpath(path), len(files)) for path in manifest.files], np.int64)
        labels = np.array([words.setdefault(label, len(words)) for label in manifest.labels])
        columns.append(np.stack([ids[manifest.file], np.full(len(manifest), s), manifest.offset, manifest.duration,
                                 labels[manifest.label]]))
    if not columns:
        return
    clips = np.concatenate(columns, 1)
    file, split, offset, duration, label = clips[:, np.lexsort((clips[2], clips[0]))]
    file, split, label, paths, word = *(x.astype(np.int64) for x in (file, split, label)), list(files), list(words)
    tasks = [([paths[f] for f in file[a:a + _CHUNK]], offset[a:a + _CHUNK], duration[a:a + _CHUNK], clip_seconds)
             for a in range(0, len(file), _CHUNK)]
    alone = np.bincount(file) == 1
    cut = []                      # clips that are only the start of their file
    heard: dict[bytes, int] = {}  # digest of the samples -> first clip
    i = 0
    with tqdm(total=len(file), desc=f"checking {name}", unit=" clips", disable=None, leave=False) as progress:
        for results in ordered_map(_examine, tasks):
            for kind, detail, seconds, remarks in results:
                for remark in remarks:
                    warnings.add(f"clips that {remark}", f"{names[split[i]]}: {paths[file[i]]} at {offset[i]:g} s")
                if kind == "digest":
                    first = heard.setdefault(detail, i)
                    if label[first] != label[i]:
                        problems.add("one recording under two labels", f"{paths[file[i]]} at {offset[i]:g} s, "
                                     f"{word[label[i]]!r} in {names[split[i]]}, has the same audio as "
                                     f"{paths[file[first]]} at {offset[first]:g} s, {word[label[first]]!r} in "
                                     f"{names[split[first]]}")
                    if split[first] != split[i]:
                        problems.add("audio in two splits", f"{paths[file[i]]} at {offset[i]:g} s in "
                                     f"{names[split[i]]} has the same audio as {paths[file[first]]} at "
                                     f"{offset[first]:g} s in {names[split[first]]}")
                    if alone[file[i]] and not offset[i] and duration[i] < seconds - TOLERANCE:
                        cut.append(f"{paths[file[i]]} ({duration[i]:g} of {seconds:g} s)")
                else:
                    problems.add(kind, f"{names[split[i]]}: {detail}")
                i += 1
            progress.update(len(results))
    # Those of one length, and so of one digest, have been told of.
    same_place = (np.diff(file) == 0) & (np.diff(offset) == 0)
    for i in 1 + np.flatnonzero(same_place & (np.diff(label) != 0) & (np.diff(duration) != 0)):
        told = (f"{paths[file[i]]} at {offset[i]:g} s is {word[label[i - 1]]!r} in {names[split[i - 1]]} and "
                f"{word[label[i]]!r} in {names[split[i]]}")
        if abs(duration[i] - duration[i - 1]) < SAME:
            problems.add("one recording under two labels", told)
        else:
            warnings.add("clips of two labels that begin at one place, as words with context may",
                         f"{told}, of other lengths")
    if cut:
        print(f"note: {len(cut):,} clips are only the start of their file, such as {cut[0]}; right if so meant")
    _check_overlaps(paths, names, file, split, offset, duration, problems)


def _examine(task: tuple) -> list[tuple[str, str | bytes, float, list[str]]]:
    """For every clip ("digest", that of its samples, its file's seconds, what is odd about it), or (kind of problem,
    what is wrong, 0, []).
    """
    from data.audio.decoding import PAST_END, TOLERANCE, decode_with_remarks, open_audio

    *columns, clip_seconds = task
    results: list[tuple[str, str | bytes, float, list[str]]] = []
    known, seconds = None, 0.0
    for path, offset, duration in zip(*columns, strict=True):
        if path != known:
            known, seconds = path, 0.0
            with suppress(UserError), open_audio(path) as file:  # what is wrong with it, decoding says
                seconds = file.frames / file.samplerate
        try:
            samples, remarks = decode_with_remarks(path, offset, duration, clip_seconds)
            if offset + duration > seconds + TOLERANCE:
                results.append(("wrong durations", f"{path}: {duration:g} s from {offset:g} s on, but the file ends "
                                f"at {seconds:g} s", 0.0, [remark for remark in remarks if remark != PAST_END]))
            else:
                results.append(("digest", hashlib.sha1(samples.tobytes()).digest(), seconds, remarks))
        except UserError as error:
            results.append(("unusable audio" if os.path.exists(path) else "missing files", str(error), 0.0, []))
    return results


def _check_overlaps(paths: list[str], names: list[str], file: np.ndarray, split: np.ndarray, offset: np.ndarray,
                    duration: np.ndarray, problems: Problems) -> None:
    """Stretches of one file that overlap and are in different splits. Clips come sorted by file, then offset."""
    begin = np.flatnonzero(np.diff(file, prepend=-1))
    end_of = np.append(begin[1:], len(file))
    mixed = np.minimum.reduceat(split, begin) != np.maximum.reduceat(split, begin)
    for a, b in zip(begin[mixed], end_of[mixed], strict=True):
        reach: dict[int, tuple[float, int]] = {}  # split -> furthest end so far, and whose it is
        for i in range(a, b):
            for other, (end, clip) in reach.items():
                if other != split[i] and end > offset[i] + 1e-6 and (offset[clip], duration[clip]) != (
                        offset[i], duration[i]):  # else the digests have told
                    problems.add("overlapping audio in two splits", f"{paths[file[i]]}: {offset[i]:g} s to "
                                 f"{offset[i] + duration[i]:g} s in {names[split[i]]}, {offset[clip]:g} s to "
                                 f"{end:g} s in {names[other]}")
            s, end = split[i], offset[i] + duration[i]
            if s not in reach or end > reach[s][0]:
                reach[s] = (end, i)


def _check_new_words(path: Path, train: Manifest | None, clip_seconds: float, problems: Problems,
                     warnings: Problems) -> None:
    """The words held out to judge an encoder by: usable, and neither they nor who says them are trained on."""
    from data.base.cores import ordered_map
    from data.manifests.corpus import trained_on

    try:
        new = read_manifest(path)
    except UserError as error:
        problems.add("broken manifests", str(error))
        return
    for line in _counts({path.stem: new}, []):
        print(line)
    paths = [new.files[f] for f in new.file]
    tasks = [(paths[a:a + _CHUNK], new.offset[a:a + _CHUNK], new.duration[a:a + _CHUNK], clip_seconds)
             for a in range(0, len(new), _CHUNK)]
    examined = (result for results in ordered_map(_examine, tasks) for result in results)
    for audio, offset, (kind, detail, _, remarks) in zip(paths, new.offset, examined, strict=True):
        if kind != "digest":
            problems.add(kind, f"{path.stem}: {detail}")
        for remark in remarks:
            warnings.add(f"clips that {remark}", f"{path.stem}: {audio} at {offset:g} s")
    for what, both in trained_on(new, train) if train is not None else ():
        problems.add(f"{what} held out as new that are trained on", f"{path}: {first_few(sorted(both))}")


def _check_noise(folder: Path, problems: Problems) -> None:
    """Decode the recordings of noise, as training does."""
    from data.audio.files import audio_files
    from data.base.cores import ordered_map

    try:
        files = audio_files(folder)
    except OSError as error:
        problems.add("noise folder", f"{folder}: cannot be read ({error.strerror})")
        return
    if not files:
        problems.add("noise folder", f"{folder}: has no audio files in it")
    for wrong in filter(None, ordered_map(_unusable, files)):
        problems.add("noise folder", wrong)


def _unusable(path: str) -> str | None:
    from data.audio.decoding import decode

    try:
        decode(path)
    except UserError as error:
        return str(error)
    return None


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.check", description="Check a registered data set: that its manifests can be read, its "
        "files are there, readable and as long as stated, its labels known, and that no speaker and no audio is in "
        "two splits. Ends with one verdict line; exit code 0 if all is well, 1 if not.",
        epilog="example: python -m data.check 35", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("name", help="a data set of the registry")
    parser.add_argument("--show", type=int, default=5, metavar="N", help="problems of each kind to print")
    parser.add_argument("--clip_seconds", type=float, default=1.0, metavar="S",
                        help="length of the clips that training will read; longer ones are decoded around their centre")
    parser.add_argument("--registry", type=Path, default=REGISTRY, metavar="FILE", help="registry of data sets")
    args = parser.parse_args(argv)
    if not 0 < args.clip_seconds < 1e6:
        raise UserError(f"--clip_seconds must be positive, not {args.clip_seconds:g}")
    if args.show < 0:
        raise UserError(f"--show must be 0 or more, not {args.show}")
    return args


def main(args: argparse.Namespace) -> int:
    return 0 if check(args.name, args.registry, args.clip_seconds, args.show) else 1


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
