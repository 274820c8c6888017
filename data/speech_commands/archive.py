"""A folder in the layout of Speech Commands: ``<word>/<speaker>_nohash_<n>.wav``, the lists that go with it, and the
12-class task made of it: ten command words, "_unknown_" for any other word, and "_silence_".

The published test set holds 408 clips each of the two next to 4,074 of the ten words: a tenth, rounded up.
"""

import argparse
import gzip
import hashlib
import math
import re
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.audio.decoding import SAMPLE_RATE, decode, open_audio
from data.audio.files import find_noise
from data.base.errors import UserError
from data.base.files import file_digest, open_regular, read_text, write_atomically
from data.base.find import NOISE, doubt_words, find_words
from data.base.labels import COMMANDS, OTHER_WORD, SILENCE, look_alike
from data.manifests.manifest import Utterance
from data.sources.splits import Digests, Splits, split_of, vet, without_copies

Clips = dict[str, Utterance]  # by name, "word/file.wav", sorted; durations are not known yet and 0
LISTS = {"dev": "validation_list.txt", "test": "testing_list.txt"}
SHARE = 0.1  # of the ten words' clips, for each of the two others
STRETCHES = {"train": (0.0, 0.8), "dev": (0.8, 0.9), "test": (0.9, 1.0)}  # parts of every noise file
_SPEAKER = re.compile(r"(.+?)_nohash_")
_STEPS = 100  # starts a second that silence clips may have
_RINGS = SAMPLE_RATE // 50  # samples that a sound reaches beyond its end when it is resampled, and more


def find_clips(root: Path, flag: str = "--root") -> Clips:
    """Every ``word/file.wav`` under ``root``, which the user named with ``flag``. What else lies in the word folders is
    counted on stderr."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the extracted archive with {flag}, or get it with --download")
    found, clips = find_words(root), {}
    found.left_out.pop("files in no word folder", None)  # the lists, a licence
    for word, path in found.files:
        folder, *inside = Path(path).relative_to(root).parts
        if folder.startswith(NOISE):
            continue
        if len(inside) == 1 and path.lower().endswith(".wav"):
            speaker = _SPEAKER.match(inside[0])
            clips[f"{folder}/{inside[0]}"] = Utterance(path, word, 0.0, speaker=speaker and speaker[1])
        else:
            found.left_out["files other than <word>/<file>.wav (see python -m data.folder)"].append(path)
    if not clips:
        raise UserError(f"{root}: no clip named <word>/<file>.wav in it; extract the archive there, or get it with "
                        "--download")
    doubt = doubt_words([(clip.label, clip.path) for clip in clips.values()], root)
    for line in (*found.remarks(), *(f"warning: {line}" for line in (*look_alike(found.folders), doubt) if line)):
        print(line, file=sys.stderr)
    return clips


def assign_splits(clips: Clips, root: Path) -> tuple[dict[str, str], str]:
    """The split of every clip, by the lists in ``root``, or by the speaker-hash rule where there are none; and a line
    that says which it was."""
    if not any((root / file).exists() for file in LISTS.values()):
        return ({name: split_of(clip.speaker or name.rpartition("/")[2]) for name, clip in clips.items()},
                f"no official lists in {root}: split by the speaker-hash rule")
    listed: dict[str, str] = {}
    for split, file in LISTS.items():
        for name in filter(None, _lines(root / file)):
            if listed.setdefault(name, split) != split:
                raise UserError(f"{root / file}: {name} is in {LISTS[listed[name]]} too; remove one of them")
    absent = len(listed.keys() - clips.keys())
    return ({name: listed.get(name, "train") for name in clips},
            "split by the official lists" + (f"; {absent:,} listed clips are not in {root}" if absent else ""))


def restrict_to_list(clips: Clips, path: Path, root: Path) -> Clips:
    """Exactly the clips that a list names, each with the content that the list says.

    The list has lines of ``word/file.wav<TAB>sha1``, the SHA-1 of the file's bytes; empty lines and ``#`` are comments.
    It is packed by gzip where its name ends in ``.gz``.
    """
    expected: dict[str, str] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line or line.startswith("#"):
            continue
        name, _, sha1 = line.rpartition("\t" if "\t" in line else " ")
        if not re.fullmatch(r"[0-9a-fA-F]{40}", sha1) or not name.strip():
            raise UserError(f"{path}, line {number}: not of the form word/file.wav<TAB>sha1")
        expected[name.strip().removeprefix("./")] = sha1.lower()
    if not expected:
        raise UserError(f"{path}: names no clip")
    if missing := sorted(expected.keys() - clips.keys()):
        raise UserError(f"{root / missing[0]}: no such clip, though {path} lists it ({len(missing):,} of "
                        f"{len(expected):,} listed clips are missing); is the archive whole and the --version right?")
    wrong = [name for name, sha1 in sorted(expected.items()) if file_digest(clips[name].path, "sha1") != sha1]
    if wrong:
        raise UserError(f"{root / wrong[0]}: its SHA-1 is not the one in {path} ({len(wrong):,} of {len(expected):,} "
                        "listed clips differ); is this the right --version of the archive?")
    return {name: clip for name, clip in clips.items() if name in expected}


def write_list(path: Path, used: Iterable[Utterance], clips: Mapping[str, Utterance]) -> int:
    """Write those of ``clips`` that are used as a list for `restrict_to_list`; returns how many."""
    paths = {clip.path for clip in used}
    names = [name for name, clip in clips.items() if clip.path in paths]
    with write_atomically(path) as file:
        file.writelines(f"{name}\t{file_digest(clips[name].path, 'sha1')}\n" for name in sorted(names))
    return len(names)


def _lines(path: Path) -> list[str]:
    if path.suffix != ".gz":
        return [line.strip() for line in read_text(path, "list of clips").split("\n")]
    with open_regular(path) as file:
        try:
            return [line.strip() for line in gzip.decompress(file.read()).decode().split("\n")]
        except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not a whole gzip file of text ({error}); fetch it again") from None


def choose_classes(args: argparse.Namespace, splits: Splits, digests: Digests, noise: Path,
                   test_root: Path) -> Splits:
    """Splits of the classes that the flags ask for, from splits of all words. New clips' hashes go to ``digests``."""
    official = {"test": official_test(args, test_root, digests)} if args.protocol == "official" else {}
    splits = splits | official
    if args.drop_duplicates:  # before other words and silence are drawn, whose number goes by what there is
        splits = without_copies(splits, digests, args.drop_duplicates)
        official = {split: splits[split] for split in official}
    if args.classes == "12":
        drawn = {split: clips for split, clips in splits.items() if split not in official}
        return with_silence(with_unknown(drawn, args.seed), digests, noise) | official
    return with_silence(splits, digests, noise) if args.silence else splits


def official_test(args: argparse.Namespace, test_root: Path, digests: Digests) -> list[Utterance]:
    """The clips of the test-set archive, which has the 12 classes."""
    clips, found = vet(list(find_clips(test_root, "--test_root").values()), args.skip_bad_audio)
    labels = {clip.label for clip in clips}
    if differing := sorted(labels ^ {*COMMANDS, OTHER_WORD, SILENCE}):
        raise UserError(f"{test_root}: {'no' if differing[0] not in labels else 'a'} folder {differing[0]!r}; the "
                        "test-set archive has one for each of the 12 classes and no other")
    digests |= found
    return clips


def share(words: int) -> int:
    """How many clips of other words, and how many of silence, go with so many clips of the ten words."""
    return math.ceil(round(SHARE * words, 6))


def with_unknown(splits: Splits, seed: int = 0) -> Splits:
    """The ten words' clips, and `share` others of every split as `OTHER_WORD`: those with the lowest SHA-1 of the seed
    and the clip's ``word/file``, so that the draw depends on nothing but the names."""
    def rank(clip: Utterance) -> str:
        return hashlib.sha1(f"{seed} {'/'.join(Path(clip.path).parts[-2:])}".encode()).hexdigest()

    drawn = {}
    for split, clips in splits.items():
        words = [clip for clip in clips if clip.label in COMMANDS]
        others = sorted((clip for clip in clips if clip.label not in COMMANDS), key=rank)
        if not others:
            raise UserError(f"no clip of another word in {split}; the 12-class task needs words beside its ten")
        drawn[split] = words + [replace(clip, label=OTHER_WORD) for clip in others[:share(len(words))]]
    return drawn


def with_silence(splits: Splits, digests: Digests, noise: Path) -> Splits:
    """Splits and, in each, clips of background noise, a tenth of the ten words' number."""
    counts = {split: share(sum(clip.label in COMMANDS for clip in clips)) for split, clips in splits.items()}
    found = {}
    for split, clips in silence(noise, counts).items():
        quiet, more = vet(clips)
        found[split] = splits[split] + quiet
        digests |= more
    return found


def silence(noise: Path, counts: dict[str, int]) -> Splits:
    """One-second clips of background noise, as offsets into its long files; ``counts`` is how many, by split.

    Every file's first 80 % are for train, the next 10 % for dev, the rest for test, so no sample is in two splits.
    A split's clips lie evenly over all that it may use; a second that is silent to the bit is passed over.
    """
    files = find_noise(noise)
    if not files:
        raise UserError(f"{noise}: no recording of background noise, which the class {SILENCE!r} is made from")
    starts = {split: [(file, start) for file in files for start in _starts(file, split)] for split in counts}
    clips = {}
    for split, count in counts.items():
        if count > len(starts[split]):
            raise UserError(f"{noise}: room for {len(starts[split]):,} different seconds of {split}, but {count:,} are "
                            "needed; add longer recordings of noise")
        chosen = [starts[split][i * len(starts[split]) // count] for i in range(count)]
        clips[split] = [Utterance(str(file), SILENCE, 1.0, start / _STEPS) for file, start in chosen]
    return clips


def _starts(file: Path, split: str) -> Sequence[int]:
    """Where a clip of ``split`` may start in a noise file, in steps."""
    with open_audio(str(file)) as sound:
        rate, seconds = sound.samplerate, sound.frames / sound.samplerate
    first, last = (stretch * seconds * _STEPS for stretch in STRETCHES[split])
    first, last = math.ceil(first), math.floor(last) - _STEPS
    if last < first:
        return []
    heard = np.concatenate([[0], np.cumsum(decode(str(file)) != 0)])
    starts = np.arange(first, last + 1)
    # Resampled as a whole, a sound rings into the silence beside it; resampled alone, the silence is silent.
    margin = 0 if rate == SAMPLE_RATE else _RINGS
    begin = starts * SAMPLE_RATE // _STEPS + margin
    end = np.minimum(begin + SAMPLE_RATE - 2 * margin, len(heard) - 1)
    return starts[heard[end] > heard[np.minimum(begin, len(heard) - 1)]].tolist()
