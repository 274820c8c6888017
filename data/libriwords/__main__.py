"""LibriWords: the N most frequent words of LibriSpeech as clips, by offset and duration into its utterances.

Word times come from TextGrids: the public alignments (Lugosch et al., 2019, Zenodo record 2619474) or those that
`data.align` makes. Which words and what split follows Vygon and Mikhaylovskiy (2021, arXiv:2101.04792).
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tabulate import tabulate

from data.base.errors import UserError, exit_cleanly
from data.base.files import write_atomically
from data.base.find import report
from data.base.messages import first_few
from data.libriwords import flags
from data.libriwords.selection import (
    Sayings,
    Words,
    counted,
    held_out,
    only,
    select,
    split_speakers,
    stay,
    with_context,
)
from data.libriwords.wordscan import NothingToUse, WordClips, as_word, scan
from data.manifests.manifest import Utterance, write_manifest
from data.manifests.registry import SPLITS, register
from data.sources.download import fetch_and_unpack


def main(args: argparse.Namespace) -> None:
    flags.check_flags(args)
    _download(args)
    for flag, folder, hint in (("librispeech", args.librispeech, "--download train-clean-360"),
                               ("alignments", args.alignments, "--download_alignments or python -m data.align")):
        if not folder.is_dir():
            raise UserError(f"--{flag} {folder}: no such folder; give the right one or fetch it with {hint}")
    try:
        clips = scan(args.librispeech, args.alignments, args.speaker_regex, args.tier)
    except NothingToUse as error:
        report(error.problems, args.out / "problems.tsv")
        raise
    _report_scan(clips, args)
    if absent := sorted(set(map(as_word, args.exclude_words)) - set(clips.words)):
        print(f"--exclude_words: {len(absent):,} of {len(args.exclude_words):,} are not in this corpus, such as "
              f"{absent[0]}")
    new = held_out(clips.words, args.new_words)
    unlearnt = _sayings(clips, {*map(as_word, args.exclude_words), *new}) if args.context else {}
    clips = only(clips, stay(clips, args.exclude_words, args.exclude_speakers))
    split = split_speakers(clips, args.min_seconds)
    for size in sorted(set(args.sizes)):
        words = select(clips, split, size, args.min_seconds, args.min_count, args.max_per_word,
                       ("train",) if args.train_only else SPLITS, args.min_speakers, new)
        _report_words(size, words, args)
        if len(words.rows) - len(words.dropped()) < 2:
            raise UserError(f"--sizes {size}: fewer than two words have clips in train, dev and test; give more of "
                            "LibriSpeech, or lower --min_count and --min_seconds")
        _write(size, clips, words, _new_clips(clips, split, words, new, args), args, unlearnt)


def _sayings(clips: WordClips, words: set[str]) -> Sayings:
    """Start and end of each saying of some words, by file."""
    found = defaultdict(list)
    for i in np.flatnonzero(np.array([word in words for word in clips.words], bool)[clips.word]):
        found[clips.files[clips.file[i]]].append((float(clips.start[i]), float(clips.end[i])))
    return found


def _new_clips(clips, split: np.ndarray, words: Words, new: set[str], args: argparse.Namespace) -> np.ndarray:
    """Indices of what the dev speakers say of the words held out, as far as these are among a size's words."""
    wanted = new & {row[0] for row in words.rows}
    chosen = np.flatnonzero(np.array([word in wanted for word in clips.words])[clips.word]
                            & (split[clips.file] == SPLITS.index("dev"))
                            & (clips.end - clips.start >= args.min_seconds - 1e-9))
    often = np.bincount(clips.word[chosen], minlength=len(clips.words)) > 1  # one clip has nothing to be like
    chosen = chosen[often[clips.word[chosen]]]
    return chosen[np.argsort(clips.word[chosen], kind="stable")]


def _write(size: int, clips, words: Words, new: np.ndarray, args: argparse.Namespace,
           unlearnt: Sayings) -> None:
    registered = flags.name_of(size, args)
    folder, count = args.out / registered, Counter()

    def write(name: str, chosen: np.ndarray) -> Path:
        utterances = _utterances(clips, chosen)
        if args.context:
            utterances = with_context(utterances, args.clip_seconds, args.context)
        if name == "train":
            utterances = counted(utterances, unlearnt, count)
        write_manifest(folder / f"{name}.json", utterances)
        return folder / f"{name}.json"

    # Before anything that is there is replaced.
    if empty := [name for name in SPLITS if not len(words.clips[name])]:
        raise UserError(f"--sizes {size}: no clip of its words falls into {' and '.join(empty)}; take more words, or "
                        "give more of LibriSpeech")
    if args.new_words and not len(new):
        raise UserError(f"--new_words {args.new_words:g}: the dev speakers say none of the words held out twice; "
                        "hold out more of them, or give more of LibriSpeech")
    paths = {name: write(name, words.clips[name]) for name in SPLITS}
    if args.new_words:
        paths["new_words"] = write("new_words", new)
        print(f"new words: {len(new):,} clips of {len(np.unique(clips.word[new])):,} words held out, in "
              f"{paths['new_words']}")
    if count["overheard"]:
        print(f"in {count['overheard']:,} of the {len(words.clips['train']):,} training clips a word of "
              "--exclude_words or --new_words is said beside their own, by --context: it is no label, but not unheard")
    with write_atomically(folder / "words.tsv") as file:
        file.write("\t".join(["word", "aligned", "too_short", "usable", *SPLITS, "verdict"]) + "\n")
        file.writelines("\t".join(map(str, row)) + "\n" for row in words.rows)
    register(registered, **paths, made_by=args.command, registry=args.registry)
    speakers = [len(set(clips.speakers[np.unique(clips.file[words.clips[name]])])) for name in SPLITS]
    counts = [len(words.clips[name]) for name in SPLITS]
    print(f"registered '{registered}': "
          + ", ".join(f"{n:,} {name} ({n / sum(counts):.1%}, {k} speakers)"
                      for n, name, k in zip(counts, SPLITS, speakers, strict=True))
          + f"; manifests and words.tsv in {folder}; use it with --manifest={registered}")


def _utterances(clips, chosen: np.ndarray) -> Iterator[Utterance]:
    for i in chosen:
        f, start = clips.file[i], float(clips.start[i])
        yield Utterance(clips.files[f], clips.words[clips.word[i]], float(clips.end[i]) - start, start,
                        clips.speakers[f])


def _report_scan(clips, args: argparse.Namespace) -> None:
    short = int((clips.end - clips.start < args.min_seconds - 1e-9).sum())
    types, utterances = len(np.unique(clips.word)), np.unique(clips.file)
    print(f"{len(clips):,} words of {types:,} types in {len(utterances):,} utterances "
          f"of {len(set(clips.speakers[utterances])):,} speakers"
          + (f"; {short:,} shorter than --min_seconds {args.min_seconds:g} left out" if args.min_seconds else ""))
    if clips.marks:
        print(f"{sum(clips.marks.values()):,} intervals whose mark is no word left out, such as "
              + ", ".join(f"{mark!r} ({n:,})" for mark, n in clips.marks.most_common(3)))
    report(clips.problems, args.out / "problems.tsv")


def _report_words(size: int, words: Words, args: argparse.Namespace) -> None:
    kept = [row for row in words.rows if row[-1] == "kept"]
    print(f"\nLibriWords{size}: {len(kept):,} classes" + (f" (there are {len(words.rows):,} words in all)"
                                                         if len(words.rows) < size else ""))
    shown = kept if len(kept) <= 12 else kept[:10] + kept[-1:]
    rows = [(word, aligned, short, *parts) for word, aligned, short, _, *parts, _ in shown]
    print(tabulate(rows, ("word", "aligned", "too short", "train", "dev", "test"), "plain", intfmt=","))
    if dropped := words.dropped():
        names = {why: [row[0] for row in dropped if row[-1] == why] for *_, why in dropped}
        print(f"dropped {len(dropped):,}: " + "; ".join(
            f"{why} ({len(names[why]):,}): {first_few(names[why], 20)}" for why in sorted(names)))


def _download(args: argparse.Namespace) -> None:
    for part in dict.fromkeys(args.download):
        fetch_and_unpack(f"{args.mirror.rstrip('/')}/{part}.tar.gz", args.librispeech, f"md5:{flags.PARTS[part]}")
    if args.download_alignments:
        fetch_and_unpack(args.alignments_url, args.alignments, f"md5:{flags.ALIGNMENTS}")


if __name__ == "__main__":
    exit_cleanly(lambda: main(flags.parse_args()))
