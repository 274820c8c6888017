"""Manifests for your own recordings: any folder of one sub-folder per word, in any formats and rates.

Nothing is copied: a long recording is cut to its loudest second by an offset in the manifest. No speaker is put
into two splits, where the file names, a regular expression or a table tell who speaks.
"""

import argparse
import csv
import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from data.audio.files import find_noise
from data.base import values
from data.base.cores import each
from data.base.errors import UserError, exit_cleanly, first_few
from data.base.files import ROOT, read_text
from data.base.find import NOISE, Findings, Found, doubt_words, find_words
from data.base.labels import look_alike, one_form, one_spelling
from data.folder.word_stretch import examine
from data.manifests.manifest import Utterance
from data.manifests.registry import REGISTRY, SPLITS, check_data_set_name, claim_name
from data.sources.splits import balanced_split, check_disjoint, count_table, doubtful, split_of, write_corpus

OFFICIAL_STYLE = r"^(.+?)_nohash_"  # as in Speech Commands: 0a7c2a8d_nohash_0.wav
_CHUNK = 200  # files a task
MANY_SPEAKERS = 100  # from here on a hash of the name alone gives about the shares asked for


def main(args: argparse.Namespace) -> None:
    root = Path(os.path.abspath(args.folder))
    out = Path(os.path.abspath(args.out or ROOT / "datasets" / args.name))
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(root)):
        raise UserError(f"--out {out}: lies in the folder of the recordings, which stays as it is; choose another")
    claim_name(args.name, out, args.registry, "python -m data.folder")
    found = find_words(root)
    doubt = doubt_words(found.files, root)
    clips = _listen(args, found, root)
    if doubt and not (args.speakers or args.speaker_regex):
        print(f"warning: {doubt}")
    clips = _without_repeats(clips)
    speakers = _speakers(args, clips, root)
    splits = _split(args, clips, speakers)
    _drop_untrained(splits)
    check_disjoint(splits)
    print(count_table(splits, sorted({u.label for u in splits["train"]})))
    noise = found.noise if found.noise and find_noise(found.noise) else None
    write_corpus(args.name, splits, out, noise=noise, made_by=args.command, registry=args.registry)


def _listen(args: argparse.Namespace, found: Findings, root: Path) -> list:
    """The clips, as (word, `Recording`), having reported what they are and, by kind, what else lies in the folder."""
    heard = list(each(partial(examine, clip_seconds=args.clip_seconds), [path for _, path in found.files], _CHUNK,
                      f"listening to {args.name}", " files"))
    clips = [(word, r) for (word, _), r in zip(found.files, heard, strict=True) if not isinstance(r, str)]
    broken = [r for r in heard if isinstance(r, str)]
    if not clips:
        raise UserError(f"{root}: none of its {len(heard):,} files is usable audio, for instance {broken[0]}")
    if broken:
        found.left_out["recordings that cannot be used"] = broken
    words = {word for word, _ in clips}
    print(f"{root}: {len(clips):,} audio files in {len(words):,} word folders")
    for line in found.remarks():
        print(line)
    _print_some("warning: no usable recording of", "words", sorted(found.folders.keys() - words))
    for line in (*look_alike(sorted(words)), *doubtful((r.path, r.remarks) for _, r in clips)):
        print(f"warning: {line}")
    _print_some(f"cut to the loudest {args.clip_seconds:g} s:", "longer files",
                [f"{r.path} at {r.offset:.2f} s" for _, r in clips if r.seconds > r.duration])
    return clips


def _without_repeats(clips: list) -> list:
    """One clip of each audio; none where equal audio has two labels, for one of these is wrong."""
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for word, r in clips:
        labels[r.digest].add(word)
    kept, repeats, contradictions, seen = [], [], [], set()
    for word, r in clips:
        if len(labels[r.digest]) > 1:
            contradictions.append(f"{r.path} ({' and '.join(sorted(labels[r.digest]))})")
        elif r.digest in seen:
            repeats.append(r.path)
        else:
            kept.append((word, r))
        seen.add(r.digest)
    _print_some("left out", "clips that repeat the audio of another", repeats)
    _print_some("left out", "clips whose audio is under two words", contradictions)
    return kept


def _speakers(args: argparse.Namespace, clips: list, root: Path) -> list[str | None]:
    files = [(word, r.path) for word, r in clips]
    if args.speakers:
        speakers, how = by_table(files, args.speakers, root), f"by {args.speakers}"
    else:
        pattern = args.speaker_regex or OFFICIAL_STYLE
        speakers, how = by_regex(files, pattern, root, args.speaker_regex is not None), f"from file names by {pattern}"
    speakers, groups = one_spelling(speakers)
    count = len(set(speakers) - {None})
    if count:
        print(f"speakers: {count:,}, {how}")
    _print_some("joined", "speakers whose names look the same", [" and ".join(group) for group in groups])
    if count < len(SPLITS):
        few = f"only {count} speaker{'s' * (count != 1)}" if count else "the file names tell no speakers (see " \
            "--speaker_regex, --speakers)"
        print(f"warning: {few}: clips are divided one by one, so the test will not tell how well new speakers do")
        return [None] * len(clips)
    _print_some("warning: no speaker is known for", "clips, which are divided one by one",
                [r.path for (_, r), speaker in zip(clips, speakers, strict=True) if speaker is None])
    return speakers


def by_table(files: Sequence[Found], table: Path, root: Path) -> list[str | None]:
    """The speaker of every file by a CSV file with the columns ``file`` and ``speaker``; others are not looked at.

    ``file`` is a path relative to ``root``, or an absolute one, or a bare file name, which then stands for it in every
    word folder. An empty speaker means that nobody knows.
    """
    known: dict[str, str] = {}
    text = read_text(table, "table of speakers", "give a CSV file with --speakers")
    rows = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    try:
        if not {"file", "speaker"} <= set(rows.fieldnames or ()):
            raise UserError(f"{table}: its first line must name the columns file,speaker (with a comma)")
        for row in rows:
            if row["speaker"] is None:
                raise UserError(f"{table}, line {rows.line_num}: lacks a column; give an empty speaker if nobody knows")
            name, speaker = _key(row["file"], root), row["speaker"].strip()
            if known.setdefault(name, speaker) != speaker:
                raise UserError(f"{table}, line {rows.line_num}: {row['file']!r} is by {speaker!r} here and by "
                                f"{known[name]!r} further up")
    except csv.Error as error:
        raise UserError(f"{table}: cannot be read as a CSV file ({error}); save it anew as CSV") from None
    found, lacking = [], []
    for _, path in files:
        name = _key(path, root)
        speaker = known.get(name, known.get(os.path.basename(name)))
        found.append(speaker or None)
        if speaker is None:
            lacking.append(name)
    if lacking:
        raise UserError(f"{table}: has no row for {first_few(lacking, 1)}; add it, with an empty speaker if nobody "
                        "knows")
    return found


def _key(path: str, root: Path) -> str:
    """A path in the one form in which rows and files are compared: relative to ``root``, composed, forward slashes."""
    path = path.strip()
    path = os.path.relpath(path, root) if os.path.isabs(path) else os.path.normpath(path)
    return one_form(path.replace(os.sep, "/"))


def by_regex(files: Sequence[Found], pattern: str, root: Path, must_fit: bool = True) -> list[str | None]:
    """The first group of ``pattern``, searched in each file's path within its word folder; None where it is not."""
    regex = re.compile(pattern)
    names = ["/".join(os.path.relpath(path, root).split(os.sep)[1:]) for _, path in files]
    found = [(match[1] or None) if (match := regex.search(name)) else None for name in names]
    if must_fit and not any(found):
        raise UserError(f"--speaker_regex {pattern!r} fits no file name, for instance not {names[0]!r}")
    return found


def _split(args: argparse.Namespace, clips: list, speakers: list[str | None]) -> dict[str, list[Utterance]]:
    splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
    for known in (True, False):
        group = [i for i, speaker in enumerate(speakers) if (speaker is not None) == known]
        units = [speakers[i] or clips[i][1].digest for i in group]
        home = divide(units, [clips[i][0] for i in group], args.dev_percent, args.test_percent, args.split_seed)
        for i, unit in zip(group, units, strict=True):
            word, r = clips[i]
            splits[home[unit]].append(Utterance(r.path, word, r.duration, r.offset, speakers[i]))
    return splits


def divide(units: Sequence[str], labels: Sequence[str], dev_percent: float, test_percent: float, seed: int = 0
           ) -> dict[str, str]:
    """The split of every distinct unit (a speaker, or a clip's audio), whose clips have ``labels``.

    From `MANY_SPEAKERS` on by hash of the name, so that what is recorded later moves nobody; fewer are divided so that
    the shares and classes come out well.
    """
    if not units:
        return {}
    distinct, classes = sorted(set(units)), sorted(set(labels))
    hashed = {unit: f"{seed} {unit}" if seed else unit for unit in distinct}
    if len(distinct) >= MANY_SPEAKERS:
        return {unit: split_of(hashed[unit], dev_percent, test_percent) for unit in distinct}
    row, column = ({name: i for i, name in enumerate(names)} for names in (distinct, classes))
    counts = np.zeros((len(distinct), len(classes)), np.int64)
    np.add.at(counts, ([row[unit] for unit in units], [column[label] for label in labels]), 1)
    shares = (1 - (dev_percent + test_percent) / 100, dev_percent / 100, test_percent / 100)
    part = balanced_split([hashed[unit] for unit in distinct], counts, shares)
    for c in np.flatnonzero(counts[part == 0].sum(0) == 0):  # said by too few to be balanced: rather train than lose it
        for unit in np.argsort(-counts[:, c], kind="stable"):
            if counts[unit, c] and (part == part[unit]).sum() > 1:
                part[unit] = 0
                break
    return {unit: SPLITS[p] for unit, p in zip(distinct, part, strict=True)}


def _drop_untrained(splits: dict[str, list[Utterance]]) -> None:
    count = {split: Counter(u.label for u in utterances) for split, utterances in splits.items()}
    lost = sorted(set(count["dev"] + count["test"]) - set(count["train"]))
    _print_some("dropped", "words, whose few clips left none to train on",
                [f"{word} ({count['dev'][word] + count['test'][word]})" for word in lost])
    for split in splits:
        splits[split] = [u for u in splits[split] if u.label not in lost]
    if len(count["train"]) < 2:
        raise UserError(f"only {len(count['train'])} word has clips to train on; at least two words are needed")
    for split in ("dev", "test"):
        _print_some(f"not in {split}:", "words", sorted(set(count["train"]) - set(count[split])))


def _print_some(before: str, what: str, items: Sequence[str]) -> None:
    if items:
        print(f"{before} {len(items):,} {what}: {first_few(items)}")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.folder", description=f"{__doc__.split(chr(10))[0]} A folder {NOISE} is registered as "
        "noise; a folder _unknown_ becomes a class.",
        epilog="example: python -m data.folder recordings --name mywords --speaker_regex '^([a-z]+)[0-9]'",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder; its files are read, never changed")
    audio = parser.add_argument_group("audio")
    audio.add_argument("--clip_seconds", type=values.clip_seconds, default=1.0, metavar="S",
                       help="longer files are cut to their loudest stretch of this length")
    split = parser.add_argument_group("speakers and splits")
    who = split.add_mutually_exclusive_group()
    who.add_argument("--speaker_regex", type=values.one_group, metavar="REGEX", help="its first group, searched in a "
                     "file's path within its word folder, is the speaker (default: as in Speech Commands, "
                     f"{OFFICIAL_STYLE})")
    who.add_argument("--speakers", type=Path, metavar="FILE", help="CSV file with the columns file,speaker (paths "
                     "relative to DIR)")
    split.add_argument("--dev_percent", type=float, default=10.0, metavar="P", help="share of the dev split")
    split.add_argument("--test_percent", type=float, default=10.0, metavar="P", help="share of the test split")
    split.add_argument("--split_seed", type=int, default=0, metavar="N", help="another number divides otherwise")
    output = parser.add_argument_group("output")
    output.add_argument("--name", required=True, help="name to register, for --manifest")
    output.add_argument("--out", type=Path, metavar="DIR", help="folder of the manifests (default: datasets/<name>)")
    output.add_argument("--registry", type=Path, default=REGISTRY, metavar="FILE", help="registry of data sets")
    args = values.parse(parser, argv)
    check_data_set_name(args.name)
    if not (args.dev_percent > 0 and args.test_percent > 0 and args.dev_percent + args.test_percent < 100):
        raise UserError(f"--dev_percent {args.dev_percent:g} --test_percent {args.test_percent:g}: must be positive "
                        "and leave something for training")
    return args


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
