"""LibriWords: the N most frequent words of LibriSpeech as clips, by offset and duration into its utterances.

Word times come from TextGrids: the public alignments (Lugosch et al., 2019, Zenodo record 2619474) or those that
`data.align` makes. Nothing is cut or copied. Which words and what split follows Vygon and Mikhaylovskiy (2021,
arXiv:2101.04792): LibriWords10, 100, 1000 and 10000.
"""

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.base.errors import UserError, exit_cleanly
from data.base.files import check_name, write_atomically
from data.libriwords.doubtful import thinned, without_doubtful
from data.libriwords.selection import Words, held_out, only, select, split_speakers, stay
from data.libriwords.wordscan import WordClips, as_word
from data.manifests import REGISTRY, ROOT, SPLITS, Utterance, read_registry, register, write_manifest
from data.sources.claim import claim

PARTS = {  # md5 of <part>.tar.gz as published at openslr.org/12
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
ALIGNMENTS = {"md5": "2bab567d0ace651a4ba254e813629f46", "size": 623_023_332}
MADE_BY = "python -m data.libriwords --download train-clean-360 --download_alignments"
# Flags that tell what a data set of a size alone is made of, beside its source.
_CONTENT = ("speaker_regex", "tier", "min_seconds", "min_count", "max_per_word", "min_speakers")


def parse_args() -> argparse.Namespace:
    return _parser().parse_args()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data.libriwords", description=__doc__.split("\n\n")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="from nothing (23 GB):  python -m data.libriwords --download train-clean-360 --download_alignments\n"
               "from what is there:    python -m data.libriwords --librispeech LibriSpeech --alignments alignments "
               "--sizes 10 100\n"
               "then:                  python TripletEncoder.py --name=words --manifest=10 --model=Res8")
    source = parser.add_argument_group("source")
    source.add_argument("--librispeech", type=Path, default=ROOT / "datasets" / "librispeech", metavar="DIR",
                        help="folder with LibriSpeech's audio, at any depth (default datasets/librispeech)")
    source.add_argument("--alignments", type=Path, default=ROOT / "datasets" / "librispeech_alignments", metavar="DIR",
                        help="folder with TextGrids named like the utterances, at any depth "
                             "(default datasets/librispeech_alignments)")
    source.add_argument("--download", nargs="+", default=[], choices=PARTS, metavar="PART",
                        help=f"first fetch these parts into --librispeech: {', '.join(PARTS)} (default none)")
    source.add_argument("--download_alignments", "--download-alignments", action="store_true",
                        help="first fetch the public alignments, 623 MB, into --alignments (default off)")
    source.add_argument("--mirror", default=MIRROR, metavar="URL",
                        help=f"where the parts lie: an address or a folder (default {MIRROR})")
    source.add_argument("--alignments_url", default=ALIGNMENTS_URL, metavar="URL",
                        help=f"where the alignments lie: an address or a file (default {ALIGNMENTS_URL})")
    source.add_argument("--speaker_regex", metavar="REGEX",
                        help="its first group, searched in an audio file's path within --librispeech, is the speaker, "
                             "for instance '^([^/]+)/' (default: as LibriSpeech and LibriTTS name their files)")
    source.add_argument("--tier", metavar="NAME",
                        help="the TextGrids' tier to read (default: words, or the one called like that)")
    words = parser.add_argument_group("words")
    words.add_argument("--sizes", nargs="+", type=_at_least(2), default=[10, 100, 1000, 10000], metavar="N",
                       help="the N most frequent words, one data set each (default 10 100 1000 10000)")
    words.add_argument("--min_seconds", type=_seconds, default=0.0, metavar="S",
                       help="leave out clips shorter than this (default 0: none)")
    words.add_argument("--min_count", type=_at_least(len(SPLITS)), default=len(SPLITS), metavar="N",
                       help="drop words with fewer usable clips (default 3, one for each split)")
    words.add_argument("--max_per_word", "--max-per-word", type=_at_least(len(SPLITS)), metavar="N",
                       help="keep at most so many clips of a word, over all splits (default all)")
    words.add_argument("--drop_doubtful", "--drop-doubtful", nargs="?", type=_percent, const=True,
                       metavar="PERCENT",
                       help="leave out words whose alignment is doubtful, by aligning every recording again: those "
                            "that do not sound like the word, lie elsewhere or are of an odd length; with PERCENT, "
                            "the most doubtful so many of all words; four times the work of data.align (default off)")
    new = parser.add_argument_group(
        "an encoder for words it never saw", "More words, as a spotter hears them, under a name of their own.")
    new.add_argument("--name", metavar="NAME", help="register as NAME-N, with manifests in DIR/NAME-N/ (default as N)")
    new.add_argument("--context", nargs="?", type=_part, const=1.0, default=0.0, metavar="SHARE",
                     help="take --clip_seconds around the word, its neighbours audible, in so great a share of the "
                          "clips, without SHARE in all; the others are cut at the word (default 0)")
    new.add_argument("--clip_seconds", type=_length, default=1.0, metavar="S",
                     help="length of a clip with context (default 1.0, the encoder's)")
    new.add_argument("--train_only", action="store_true",
                     help="keep words that have no clip in dev or test (default off: such words are dropped)")
    new.add_argument("--min_speakers", type=_at_least(1), default=1, metavar="N",
                     help="drop words said by fewer (default 1)")
    new.add_argument("--exclude_words", nargs="+", default=[], metavar="WORD",
                     help="words to leave out, such as those to test with (default none)")
    new.add_argument("--exclude_speakers", nargs="+", default=[], metavar="SPEAKER",
                     help="speakers to leave out, such as those of a background to test with (default none)")
    new.add_argument("--new_words", type=_percent, default=0.0, metavar="PERCENT",
                     help="hold out so many of the words, by a hash of each, to judge the encoder by while it is "
                          "trained; what the dev speakers say of them goes to new_words.json (default 0)")
    result = parser.add_argument_group("result")
    result.add_argument("--out", type=Path, default=ROOT / "datasets" / "libriwords", metavar="DIR",
                        help="manifests go to DIR/<N>/, the resumable scan to DIR/scan/ (default datasets/libriwords)")
    result.add_argument("--registry", type=Path, default=REGISTRY, metavar="FILE",
                        help="registers the data sets as <N> (default manifests.json)")
    return parser


def main(args: argparse.Namespace) -> None:
    from data.libriwords.wordscan import NothingToUse, scan

    _check_flags(args)
    _download(args)
    for flag, folder, hint in (("librispeech", args.librispeech, "--download train-clean-360"),
                               ("alignments", args.alignments, "--download_alignments, or make them with "
                                                               "python -m data.align")):
        if not folder.is_dir():
            raise UserError(f"--{flag} {folder}: no such folder; give the right one or fetch it with {hint}")
    try:
        clips = scan(args.librispeech, args.alignments, args.out / "scan", args.speaker_regex, args.tier)
    except NothingToUse as error:
        _report_problems(error.problems, args.out)
        raise
    clips, keep = _drop_doubtful(clips, args)
    _report_scan(clips, args)
    if absent := sorted(set(map(as_word, args.exclude_words)) - set(clips.words)):
        print(f"--exclude_words: {len(absent):,} of {len(args.exclude_words):,} are not in this corpus, such as "
              f"{absent[0]}")
    stays = stay(clips, args.exclude_words, args.exclude_speakers)
    new = held_out(clips.words, args.new_words)
    unlearnt = _sayings(clips, {*map(as_word, args.exclude_words), *new}) if args.context else []
    clips = only(clips, stays)
    split = split_speakers(clips, args.min_seconds)  # whatever is doubtful, speakers stay where they are
    clips = thinned(clips, keep[stays])
    for size in sorted(set(args.sizes)):
        words = select(clips, split, size, args.min_seconds, args.min_count, args.max_per_word,
                       ("train",) if args.train_only else SPLITS, args.min_speakers, new)
        _report_words(size, words, args)
        if len(words.rows) - len(words.dropped()) < 2:
            raise UserError(f"--sizes {size}: fewer than two words have clips in train, dev and test; give more of "
                            "LibriSpeech, or lower --min_count and --min_seconds")
        _write(size, clips, words, _new_clips(clips, split, words, new, args), args, unlearnt)


def _sayings(clips: WordClips, words: set[str]) -> list[tuple[str, float, float]]:
    """File, start and end of each saying of some words."""
    rows = np.flatnonzero(np.array([word in words for word in clips.words], bool)[clips.word])
    return [(clips.files[clips.file[i]], float(clips.start[i]), float(clips.end[i])) for i in rows]


def _drop_doubtful(clips: WordClips, args: argparse.Namespace) -> tuple[WordClips, np.ndarray]:
    """The scan, its problems with the words that --drop_doubtful leaves out among them; and (M,) bool, which stay."""
    if args.drop_doubtful is None:
        return clips, np.ones(len(clips), bool)
    keep = stay(clips, (), args.exclude_speakers)  # who else is left out need not be aligned
    share = None if args.drop_doubtful is True else args.drop_doubtful
    keep[keep], problems, said = without_doubtful(only(clips, keep), args.out / "second", share)
    print(said)
    return replace(clips, problems=[*clips.problems, *problems]), keep


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
           unlearnt: list[tuple[str, float, float]]) -> None:
    from data.libriwords.context import Overheard, with_context

    registered = _name(size, args)
    folder = args.out / registered
    overheard = Overheard(unlearnt)

    def write(name: str, chosen: np.ndarray) -> Path:
        utterances = _utterances(clips, chosen)
        if args.context:
            utterances = with_context(utterances, args.clip_seconds, args.context)
        if name == "train":
            utterances = overheard.counted(utterances)
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
    if overheard.clips:
        print(f"in {overheard.clips:,} of the {len(words.clips['train']):,} training clips a word of --exclude_words "
              "or --new_words is said beside their own, by --context: it is no label, but not unheard")
    with write_atomically(folder / "words.tsv") as file:
        file.write("\t".join(["word", "aligned", "too_short", "usable", *SPLITS, "verdict"]) + "\n")
        file.writelines("\t".join(map(str, row)) + "\n" for row in words.rows)
    made_by = _made_by(size, args)
    old = read_registry(args.registry).get(registered, {}).get("made_by") if args.registry.exists() else None
    if old not in (None, made_by):
        print(f"replaces the data set {registered!r} that was made by: {old}")
    register(registered, **paths, made_by=made_by, registry=args.registry)
    speakers = [len(set(clips.speakers[np.unique(clips.file[words.clips[name]])])) for name in SPLITS]
    counts = [len(words.clips[name]) for name in SPLITS]
    print(f"registered '{registered}': "
          + ", ".join(f"{n:,} {name} ({n / sum(counts):.1%}, {k} speakers)"
                      for n, name, k in zip(counts, SPLITS, speakers, strict=True))
          + f"; manifests and words.tsv in {folder}; use it with --manifest={registered}")


def _utterances(clips, chosen: np.ndarray) -> Iterator[Utterance]:
    for i in chosen:
        f = clips.file[i]
        start = float(clips.start[i])
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
    _report_problems(clips.problems, args.out)


def _report_problems(problems: list[tuple[str, str, str]], out: Path) -> None:
    """Count them by kind on stderr, and list all in problems.tsv."""
    listed = out / "problems.tsv"
    with write_atomically(listed) as file:
        file.writelines("\t".join(" ".join(cell.split()) for cell in row) + "\n" for row in problems)
    first = {kind: path for kind, path, _ in reversed(problems)}
    for kind, count in sorted(Counter(kind for kind, *_ in problems).items()):
        print(f"{'' if kind.startswith('odd') else 'skipped: '}{kind} ({count:,}), such as {first[kind]}",
              file=sys.stderr)
    if problems:
        print(f"all {len(problems):,} of them are named in {listed}", file=sys.stderr)


def _report_words(size: int, words: Words, args: argparse.Namespace) -> None:
    kept = [row for row in words.rows if row[-1] == "kept"]
    print(f"\nLibriWords{size}: {len(kept):,} classes" + (f" (there are {len(words.rows):,} words in all)"
                                                         if len(words.rows) < size else ""))
    shown = kept if len(kept) <= 12 else kept[:10] + kept[-1:]
    print("  word             aligned too short    train     dev    test")
    for word, aligned, short, _, *parts, _ in shown:
        print(f"  {word:15} {aligned:>8,} {short:>9,} {parts[0]:>8,} {parts[1]:>7,} {parts[2]:>7,}")
    if dropped := words.dropped():
        print(f"dropped {len(dropped):,}: " + "; ".join(
            f"{why} ({len(names):,}): {', '.join(names[:20])}{', ...' * (len(names) > 20)}"
            for why, names in sorted({why: [row[0] for row in dropped if row[-1] == why]
                                      for *_, why in dropped}.items())))


def _download(args: argparse.Namespace) -> None:
    if not (args.download or args.download_alignments):
        return
    from data.sources.download import fetch_and_unpack

    for part in dict.fromkeys(args.download):
        fetch_and_unpack(f"{args.mirror.rstrip('/')}/{part}.tar.gz", args.librispeech, md5=PARTS[part])
    if args.download_alignments:
        fetch_and_unpack(args.alignments_url, args.alignments, **ALIGNMENTS)


def _name(size: int, args: argparse.Namespace) -> str:
    return f"{args.name}-{size}" if args.name else str(size)


def _made_by(size: int, args: argparse.Namespace) -> str:
    """The command that makes a data set again; of one without --name from LibriSpeech as it is published."""
    if args.name:
        return shlex.join(["python", "-m", "data.libriwords", *sys.argv[1:]])
    default = _parser().get_default
    flags = [] if size in default("sizes") else ["--sizes", size]
    for flag in _CONTENT:
        if (value := getattr(args, flag)) != default(flag):
            flags += [f"--{flag}", value]
    return " ".join([MADE_BY, *map(shlex.quote, map(str, flags))])


def _check_flags(args: argparse.Namespace) -> None:
    """Raise UserError for flags that do not go together, or where another data set has one of the names or folders."""
    for flag, needed, given in (("clip_seconds", "--context", args.context),
                                ("mirror", "--download", args.download),
                                ("alignments_url", "--download_alignments", args.download_alignments)):
        if not given and getattr(args, flag) != _parser().get_default(flag):
            raise UserError(f"--{flag} has no effect without {needed}; give that too, or leave it out")
    if args.name:
        check_name("--name", args.name)
    elif (args.context or args.train_only or args.exclude_words or args.exclude_speakers or args.new_words
          or args.drop_doubtful is not None):
        raise UserError("--context, --train_only, --exclude_words, --exclude_speakers, --new_words and --drop_doubtful "
                        "make other data than the paper's; give them a name with --name")
    entries = read_registry(args.registry) if args.registry.exists() else {}
    for size in args.sizes:
        name = _name(size, args)
        if (entry := entries.get(name)) is None:
            continue
        if not str(entry.get("made_by")).startswith("python -m data.libriwords "):
            raise UserError(f"--sizes {size}: {args.registry} has another data set of the name {name!r}; take another "
                            "size, --name or --registry")
    for name in (_name(size, args) for size in args.sizes):
        claim(name, args.out / name, args.registry, "python -m data.libriwords", "--name" if args.name else "--sizes")


def _at_least(least: int):
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return value
    return number


def _between(least: float, most: float, what: str):
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is no {what} from {least:g} to {most:g}")
        return value
    return number


_part, _percent, _length = (_between(*wanted) for wanted in (
    (0, 1, "share"), (0, 50, "percentage"), (0.1, 10, "length in seconds")))


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return value


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
