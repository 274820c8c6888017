"""Google Speech Commands (Warden, 2018, arXiv:1804.03209): download, split, check, register.

Splits are those of the official lists, or of the speaker-hash rule where there are none. The recordings are
(c) Google, licensed under CC BY 4.0.
"""

import argparse
import sys
from pathlib import Path

from data.base import values
from data.base.errors import UserError, did_you_mean, exit_cleanly, first_few
from data.base.files import ROOT
from data.base.find import NOISE
from data.base.labels import COMMANDS, SILENCE
from data.manifests.registry import REGISTRY, claim_name
from data.sources.download import fetch_and_unpack
from data.sources.splits import Splits, check_disjoint, contradictions, count_table, vet, without_copies, write_corpus
from data.speech_commands.archive import assign_splits, choose_classes, find_clips, restrict_to_list, write_list

URL = "http://download.tensorflow.org/data/"
SHA256 = {  # none of the test sets are published
    "speech_commands_v0.01.tar.gz": "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
    "speech_commands_v0.02.tar.gz": "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"}
WORDS = {1: 30, 2: 35}  # of each version
NAMES = {(2, "all", "split"): "35", (2, "12", "split"): "12", (2, "12", "official"): "12-official",
         (2, "all+silence", "split"): "35-silence", (1, "all+silence", "split"): "v1-30-silence",
         (1, "all", "split"): "v1-30", (1, "12", "split"): "v1-12", (1, "12", "official"): "v1-12-official"}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.speech_commands", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Make train, dev and test manifests from Google Speech Commands and register them.",
        epilog="examples:\n"
               "  python -m data.speech_commands --version 2 --root datasets/speech_commands --download\n"
               "  python -m data.speech_commands --root DIR --words yes no up down --name four")
    source = parser.add_argument_group("recordings")
    source.add_argument("--root", type=Path, required=True, metavar="DIR",
                        help="the extracted archive, or the folder that --download puts it into")
    source.add_argument("--version", type=int, choices=(1, 2), default=2, help="of the archive (default 2)")
    source.add_argument("--download", action="store_true", help="get the archive (2.4 GB) and unpack it under --root; "
                        "with --protocol official the test-set archive too")
    source.add_argument("--url", default=URL, metavar="URL", help=f"where the archives are: a mirror or a folder with "
                        f"files of the official names, or the address or path of one .tar.gz (default {URL})")
    source.add_argument("--sha256", metavar="HEX", help="hash of an archive of one's own (default: the official one's)")
    source.add_argument("--test_root", type=Path, metavar="DIR", help="the extracted test-set archive (default: where "
                        "--download puts it under --root)")
    _add_classes(parser)
    out = parser.add_argument_group("output")
    out.add_argument("--name", help="to register as (default by --version, --classes and --protocol: "
                                    f"{', '.join(NAMES.values())}; --words needs one)")
    out.add_argument("--out", type=Path, metavar="DIR", help="folder of the manifests (default datasets/<name>)")
    out.add_argument("--registry", type=Path, metavar="FILE", help="where to register (default manifests.json)")
    out.add_argument("--write_list", type=Path, metavar="FILE",
                     help="also write the clips used as a list for --list (default: none)")
    return values.parse(parser, argv)


def _add_classes(parser: argparse.ArgumentParser) -> None:
    classes = parser.add_argument_group("classes and splits")
    classes.add_argument("--classes", choices=("all", "12"), default="all",
                         help="all words found, or the 12-class task: yes no up down left right on off stop go, "
                              "_unknown_ (other words) and _silence_ (default all)")
    classes.add_argument("--words", nargs="+", metavar="WORD", help="only these words (default: all that are found)")
    classes.add_argument("--silence", action="store_true",
                         help="beside all words, _silence_ as with --classes 12 (default off)")
    classes.add_argument("--list", type=Path, metavar="FILE", help="only the clips of this list, "
                         "word/file.wav<TAB>sha1 a line, each checked (FILE.gz: packed by gzip; default: all clips)")
    classes.add_argument("--protocol", choices=("split", "official"), default="split",
                         help="12-class test set: drawn from the test split like train and dev; or the separate "
                              "official test-set archive (default split)")
    classes.add_argument("--seed", type=int, default=0, help="of the draw of _unknown_ clips (default 0)")
    classes.add_argument("--skip_bad_audio", action="store_true",
                         help="leave out clips that cannot be decoded or are silent to the bit (default: an error)")
    classes.add_argument("--drop_duplicates", action="store_true",
                         help="leave out training or dev clips whose audio is in test or dev (default: error)")


def main(args: argparse.Namespace) -> None:
    name = check_flags(args)
    out, registry = args.out or ROOT / "datasets" / name, args.registry or REGISTRY
    claim_name(name, out, registry, "python -m data.speech_commands")
    root, test_root = locate(args)
    found = find_clips(root)
    splits_of, rule = assign_splits(found, root)
    print(rule)
    clips = restrict_to_list(found, args.list, root) if args.list else found
    words = choose_words(args, {clip.label for clip in clips.values()}, root)
    usable, digests = vet([clip for clip in clips.values() if clip.label in words], args.skip_bad_audio)
    if torn := contradictions(usable, digests):
        print(f"warning: {len(torn):,} clips have the audio of one of another word, so one of the two is wrong: "
              + first_few([f"{one.path} = {other.path}" for one, other in torn], 3), file=sys.stderr)
    splits = {"train": [], "dev": [], "test": []}
    for clip in usable:
        splits[splits_of["/".join(Path(clip.path).parts[-2:])]].append(clip)
    splits = choose_classes(args, splits, digests, root / NOISE, test_root)
    splits = without_copies(splits, digests, args.drop_duplicates)
    check_disjoint(splits)
    print(count_table(splits, sorted({clip.label for clips in splits.values() for clip in clips})))
    splits = leave_out_untrained(args, splits, root)
    write_corpus(name, splits, out, made_by=args.command,
                 noise=root / NOISE if (root / NOISE).is_dir() else None, registry=registry)
    if args.write_list:
        count = write_list(args.write_list, (clip for clips in splits.values() for clip in clips), found)
        print(f"{args.write_list}: {count:,} clips with their SHA-1")


def check_flags(args: argparse.Namespace) -> str:
    """The name to register. Raises UserError for flags that do not go together."""
    if args.words and args.classes == "12":
        raise UserError("--words and --classes 12 exclude each other; leave one of them out")
    if args.protocol == "official" and args.classes != "12":
        raise UserError("--protocol official is about the 12-class task; add --classes 12")
    if args.silence and (args.words or args.classes == "12"):
        raise UserError("--silence adds background noise to all words; leave it out, or --words and --classes 12")
    if args.name is None and (args.words or args.list):
        raise UserError("--words and --list make a set of its own; name it with --name")
    default = NAMES[args.version, args.classes + "+silence" * args.silence, args.protocol]
    return default if args.name is None else args.name


def locate(args: argparse.Namespace) -> tuple[Path, Path]:
    """The folders of the recordings and of the test set, downloaded first with ``--download``."""
    archives = [f"speech_commands_v0.0{args.version}", f"speech_commands_test_set_v0.0{args.version}"]
    root, test_root = (args.root / archive for archive in archives)
    if args.download:
        for archive in archives[:1] if args.protocol == "split" or args.test_root else archives:
            file, main_archive = f"{archive}.tar.gz", archive == archives[0]
            expected = (main_archive and args.sha256) or SHA256.get(file)
            fetch_and_unpack(address(args.url, file, main_archive), args.root / archive, expected)
    # A download that failed leaves a folder without words, which must not hide those that --root has itself.
    unpacked = root.is_dir() and any(entry.is_dir() for entry in root.iterdir())
    return root if unpacked else args.root, args.test_root or test_root


def address(url: str, file: str, main_archive: bool) -> str:
    """Where an archive of that name is, by ``--url``: a folder of archives, or the main archive itself."""
    if url.endswith((".tar.gz", ".tgz", ".zip")):
        if main_archive:
            return url
        url = url.rpartition("/")[0] or "."
    return f"{url.rstrip('/')}/{file}"


def choose_words(args: argparse.Namespace, found: set[str], root: Path) -> set[str]:
    """The words to use of those found. Raises UserError when some are not there."""
    if args.classes == "12" and SILENCE in found:  # else its clips would be drawn as other words
        raise UserError(f"{root}: has a folder {SILENCE!r}, as the test-set archive has; --classes 12 makes that class "
                        "of background noise from the archive of words; name that, or take the folder out")
    if missing := sorted(set(args.words or (COMMANDS if args.classes == "12" or args.silence else ())) - found):
        raise UserError(f"{root}: no clips of the word {missing[0]!r}{did_you_mean(missing[0], found)}; found: "
                        + " ".join(sorted(found)))
    if args.name is None and len(found) != WORDS[args.version]:
        raise UserError(f"{root}: its {len(found)} words are not the {WORDS[args.version]} of version {args.version}; "
                        "name this set with --name, or say of which --version it is")
    return set(args.words or found)


def leave_out_untrained(args: argparse.Namespace, splits: Splits, root: Path) -> Splits:
    """Splits without the labels that have no training clip. Raises UserError for one that --words names."""
    labels = {clip.label for clips in splits.values() for clip in clips}
    if untrained := sorted(labels - {clip.label for clip in splits["train"]}):
        if args.words:
            raise UserError(f"{root}: no training clip of {' '.join(untrained)}; leave them out of --words")
        print(f"left out, for want of training clips: {' '.join(untrained)}")
    return {split: [clip for clip in clips if clip.label not in untrained] for split, clips in splits.items()}


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
