"""The flags of `python -m data.libriwords`: which go together, and what a data set is called."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from data.base import values
from data.base.errors import UserError
from data.base.files import ROOT, check_name
from data.manifests.registry import REGISTRY, SPLITS, claim_name

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


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.libriwords",
        description="LibriWords: the N most frequent words of LibriSpeech as clips, by offset and duration into its "
                    "utterances.",
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
                          "speakers say of them goes to new_words.json (default 0)")


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
