"""LibriWords: the N most frequent words of LibriSpeech as clips, by offset and duration into its utterances.

Word times come from TextGrids: the public alignments (Lugosch et al., 2019, Zenodo record 2619474) or those that
`data.align` makes. Which words and what split follows Vygon and Mikhaylovskiy (2021, arXiv:2101.04792).
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from data.base import values
from data.base.errors import UserError, exit_cleanly, first_few
from data.base.files import ROOT, check_name, write_atomically
from data.base.find import report
from data.libriwords.selection import Words, held_out, select, split_speakers, with_context, without
from data.libriwords.wordscan import WordClips, as_word, most_often, scan
from data.manifests.manifest import Utterance, write_manifest
from data.manifests.registry import REGISTRY, SPLITS, claim_name, register
from data.sources.download import fetch_and_unpack

PARTS = {  # MD5 of <part>.tar.gz as published at openslr.org/12
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fff3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
}
MIRROR = "https://www.openslr.org/resources/12"
ALIGNMENTS_URL = "https://zenodo.org/records/2619474/files/librispeech_alignments.zip"
ALIGNMENTS = "2bab567d0ace651a4ba254e813629f46"  # their MD5


def main(args: argparse.Namespace) -> None:
    check_flags(args)
    for part in dict.fromkeys(args.download):
        fetch_and_unpack(f"{args.mirror.rstrip('/')}/{part}.tar.gz", args.librispeech, f"md5:{PARTS[part]}")
    if args.download_alignments:
        fetch_and_unpack(args.alignments_url, args.alignments, f"md5:{ALIGNMENTS}")
    for flag, folder, hint in (("librispeech", args.librispeech, "--download train-clean-360"),
                               ("alignments", args.alignments, "--download_alignments or python -m data.align")):
        if not folder.is_dir():
            raise UserError(f"--{flag} {folder}: no such folder; give the right one or fetch it with {hint}")
    clips = scan(args.librispeech, args.alignments, args.speaker_regex, args.tier)
    report(clips.problems, args.out / "problems.tsv")
    if not len(clips):
        raise UserError(f"--librispeech {args.librispeech} --alignments {args.alignments}: no word in a TextGrid that "
                        f"is named like an audio file{most_often(clips.problems)}")
    _report_scan(clips, args)
    if absent := sorted(set(map(as_word, args.exclude_words)) - set(clips.words)):
        print(f"--exclude_words: {len(absent):,} of {len(args.exclude_words):,} are not in this corpus, such as "
              f"{absent[0]}")
    new = held_out(clips.words, args.new_words)
    clips = without(clips, args.exclude_words, args.exclude_speakers)
    split = split_speakers(clips, args.min_seconds)
    for size in sorted(set(args.sizes)):
        words = select(clips, split, size, args.min_seconds, args.min_count, args.max_per_word,
                       ("train",) if args.train_only else SPLITS, args.min_speakers, new)
        _report_words(size, words)
        if sum(row[-1] == "kept" for row in words.rows) < 2:
            raise UserError(f"--sizes {size}: fewer than two words have clips in train, dev and test; give more of "
                            "LibriSpeech, or lower --min_count and --min_seconds")
        _write(size, clips, words, _new_clips(clips, split, words, new, args), args)


def _new_clips(clips, split: np.ndarray, words: Words, new: set[str], args: argparse.Namespace) -> np.ndarray:
    """Indices of what the dev speakers say of the words held out, as far as these are among a size's words."""
    wanted = new & {row[0] for row in words.rows}
    chosen = np.flatnonzero(np.array([word in wanted for word in clips.words])[clips.word]
                            & (split[clips.file] == SPLITS.index("dev"))
                            & (clips.end - clips.start >= args.min_seconds - 1e-9))
    often = np.bincount(clips.word[chosen], minlength=len(clips.words)) > 1  # one clip has nothing to be like
    chosen = chosen[often[clips.word[chosen]]]
    return chosen[np.argsort(clips.word[chosen], kind="stable")]


def _write(size: int, clips: WordClips, words: Words, new: np.ndarray, args: argparse.Namespace) -> None:
    registered = name_of(size, args)
    folder = args.out / registered
    # Before anything that is there is replaced.
    if empty := [name for name in SPLITS if not len(words.clips[name])]:
        raise UserError(f"--sizes {size}: no clip of its words falls into {' and '.join(empty)}; take more words, or "
                        "give more of LibriSpeech")
    if args.new_words and not len(new):
        raise UserError(f"--new_words {args.new_words:g}: the dev speakers say none of the words held out twice; "
                        "hold out more of them, or give more of LibriSpeech")
    paths = {}
    for name, chosen in (words.clips | ({"new_words": new} if args.new_words else {})).items():
        paths[name] = folder / f"{name}.json"
        write_manifest(paths[name], with_context(_utterances(clips, chosen), args.clip_seconds, args.context))
    if args.new_words:
        print(f"new words: {len(new):,} clips of {len(np.unique(clips.word[new])):,} words held out, in "
              f"{paths['new_words']}")
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


def _report_words(size: int, words: Words) -> None:
    kept = [row for row in words.rows if row[-1] == "kept"]
    print(f"\nLibriWords{size}: {len(kept):,} classes" + (f" (there are {len(words.rows):,} words in all)"
                                                         if len(words.rows) < size else ""))
    shown = kept if len(kept) <= 12 else kept[:10] + kept[-1:]
    rows = [(word, aligned, short, *parts) for word, aligned, short, _, *parts, _ in shown]
    print(tabulate(rows, ("word", "aligned", "too short", "train", "dev", "test"), "plain", intfmt=","))
    if dropped := [row for row in words.rows if row[-1] != "kept"]:
        names = {why: [row[0] for row in dropped if row[-1] == why] for *_, why in dropped}
        print(f"dropped {len(dropped):,}: " + "; ".join(
            f"{why} ({len(names[why]):,}): {first_few(names[why], 20)}" for why in sorted(names)))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.libriwords",
        description=__doc__.split("\n")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="from nothing (23 GB):  python -m data.libriwords --download train-clean-360 --download_alignments\n"
               "from what is there:    python -m data.libriwords --librispeech LibriSpeech --alignments alignments "
               "--sizes 10 100")
    source = parser.add_argument_group("source")
    source.add_argument("--librispeech", type=Path, default=ROOT / "datasets" / "librispeech", metavar="DIR",
                        help="folder with LibriSpeech's audio, at any depth (default datasets/librispeech)")
    source.add_argument("--alignments", type=Path, default=ROOT / "datasets" / "librispeech_alignments", metavar="DIR",
                        help="folder with TextGrids named like the utterances (default "
                             "datasets/librispeech_alignments)")
    source.add_argument("--download", nargs="+", default=[], choices=PARTS, metavar="PART",
                        help=f"first fetch these parts into --librispeech: {', '.join(PARTS)} (default none)")
    source.add_argument("--download_alignments", "--download-alignments", action="store_true",
                        help="first fetch the public alignments, 623 MB, into --alignments (default off)")
    source.add_argument("--mirror", default=MIRROR, metavar="URL",
                        help=f"where the parts lie: an address or a folder (default {MIRROR})")
    source.add_argument("--alignments_url", default=ALIGNMENTS_URL, metavar="URL",
                        help=f"where the alignments lie: an address or a file (default {ALIGNMENTS_URL})")
    source.add_argument("--speaker_regex", type=values.one_group, metavar="REGEX",
                        help="its first group, searched in an audio file's path within --librispeech, is the speaker, "
                             "for instance '^([^/]+)/' (default: as LibriSpeech and LibriTTS name their files)")
    source.add_argument("--tier", metavar="NAME",
                        help="the TextGrids' tier to read (default: words, or the one called like that)")
    _add_words(parser)
    result = parser.add_argument_group("result")
    result.add_argument("--out", type=Path, default=ROOT / "datasets" / "libriwords", metavar="DIR",
                        help="manifests go to DIR/<N>/ (default datasets/libriwords)")
    result.add_argument("--registry", type=Path, default=REGISTRY, metavar="FILE", help="(default manifests.json)")
    return values.parse(parser, argv)


def _add_words(parser: argparse.ArgumentParser) -> None:
    words = parser.add_argument_group("words")
    words.add_argument("--sizes", nargs="+", type=values.within(int, 2), default=[10, 100, 1000, 10000], metavar="N",
                       help="the N most frequent words, one data set each (default 10 100 1000 10000)")
    words.add_argument("--min_seconds", type=values.not_negative, default=0.0, metavar="S",
                       help="leave out clips shorter than this (default 0: none)")
    words.add_argument("--min_count", type=values.within(int, len(SPLITS)), default=len(SPLITS), metavar="N",
                       help="drop words with fewer usable clips (default 3, one for each split)")
    words.add_argument("--max_per_word", "--max-per-word", type=values.within(int, len(SPLITS)), metavar="N",
                       help="keep at most so many clips of a word, over all splits (default all)")
    new = parser.add_argument_group(
        "an encoder for words it never saw", "More words, as a spotter hears them, under a name of their own.")
    new.add_argument("--name", metavar="NAME", help="register as NAME-N, with manifests in DIR/NAME-N/ (default as N)")
    new.add_argument("--context", nargs="?", type=values.probability, const=1.0, default=0.0, metavar="SHARE",
                     help="take --clip_seconds around the word in such a share of the clips, without SHARE in all; the "
                          "others are cut at the word (default 0)")
    new.add_argument("--clip_seconds", type=values.within(float, 0.1, 10), default=1.0, metavar="S",
                     help="length of a clip with context (default 1.0, the encoder's)")
    new.add_argument("--train_only", action="store_true",
                     help="keep words that have no clip in dev or test (default off: such words are dropped)")
    new.add_argument("--min_speakers", type=values.count, default=1, metavar="N",
                     help="drop words said by fewer (default 1)")
    new.add_argument("--exclude_words", nargs="+", default=[], metavar="WORD", help="words to leave out (default none)")
    new.add_argument("--exclude_speakers", nargs="+", default=[], metavar="SPEAKER",
                     help="speakers to leave out (default none)")
    new.add_argument("--new_words", type=values.within(float, 0, 50), default=0.0, metavar="PERCENT",
                     help="hold out so many of the words, to judge the encoder by while it is trained; what the dev "
                          "speakers say of them goes to new_words.json; --context may have them beside others "
                          "(default 0)")


def name_of(size: int, args: argparse.Namespace) -> str:
    """What the data set of so many words is registered as."""
    return f"{args.name}-{size}" if args.name else str(size)


def check_flags(args: argparse.Namespace) -> None:
    """Raise UserError for flags that do not go together, or where another data set has one of the names or folders."""
    if args.name:
        check_name("--name", args.name)
    elif args.context or args.train_only or args.exclude_words or args.exclude_speakers or args.new_words:
        raise UserError("--context, --train_only, --exclude_words, --exclude_speakers and --new_words make other data "
                        "than the paper's; give them a name with --name")
    for size in args.sizes:
        name = name_of(size, args)
        claim_name(name, args.out / name, args.registry, "python -m data.libriwords",
                   "--name" if args.name else "--sizes")


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
