"""Manifests for your own recordings: any folder of one sub-folder per word, in any formats and rates.

    python -m data.folder recordings --name mywords

Nothing is copied: a long recording is cut to its loudest second by an offset in the manifest. No speaker is put
into two splits, where the file names, a regular expression or a table tell who speaks.
"""

import argparse
import os
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from data.base.errors import UserError, exit_cleanly
from data.folder.speaker_of_file import OFFICIAL_STYLE, PREFIX_STYLE, Found, by_likely_style, by_regex, by_table
from data.manifests import REGISTRY, ROOT, SPLITS, Utterance, read_registry

NOISE = "_background_noise_"
MANY_SPEAKERS = 100  # from here on a hash of the name alone gives about the shares asked for
_CHUNK = 200  # files a task


def find_files(root: Path) -> tuple[list[Found], list[str], Path | None]:
    """The files of the word folders (and folders in these), those elsewhere, and the noise folder if there is one.

    Raises:
        UserError: ``root`` cannot be read, or has no sub-folders.
    """
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise UserError(f"{root}: cannot be read ({error.strerror}); give a folder of one sub-folder per "
                        "word") from None
    words = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    noise = next((folder for folder in words if folder.name == NOISE), None)
    files = [(word.name, os.path.join(folder, name)) for word in words if word != noise
             for folder, _, names in sorted(os.walk(word)) for name in sorted(names)]
    if not files:
        raise UserError(f"{root}: has no sub-folders with files in them; put the recordings of each word into a "
                        "folder named after the word")
    return files, [str(entry) for entry in entries if not entry.is_dir()], noise


def divide(units: Sequence[str], labels: Sequence[str], dev_percent: float, test_percent: float) -> dict[str, str]:
    """The split of every distinct unit (a speaker, or a clip's audio), whose clips have ``labels``.

    From `MANY_SPEAKERS` on by hash of the name; fewer are divided so that the shares and classes come out well.
    """
    import numpy as np

    from data.sources.divide_speakers import balanced_split
    from data.sources.splits import split_of

    distinct, classes = sorted(set(units)), sorted(set(labels))
    if len(distinct) >= MANY_SPEAKERS:
        return {unit: split_of(unit, dev_percent, test_percent) for unit in distinct}
    row, column = ({name: i for i, name in enumerate(names)} for names in (distinct, classes))
    counts = np.zeros((len(distinct), len(classes)), np.int64)
    np.add.at(counts, ([row[unit] for unit in units], [column[label] for label in labels]), 1)
    shares = (1 - (dev_percent + test_percent) / 100, dev_percent / 100, test_percent / 100)
    part = balanced_split(distinct, counts, shares)
    for c in np.flatnonzero(counts[part == 0].sum(0) == 0):  # said by too few to be balanced: rather train than lose it
        for unit in np.argsort(-counts[:, c], kind="stable"):
            if counts[unit, c] and (part == part[unit]).sum() > 1:
                part[unit] = 0
                break
    return {unit: SPLITS[p] for unit, p in zip(distinct, part, strict=True)}


def main(args: argparse.Namespace, say: Callable[[str], None] = print) -> None:
    from tqdm import tqdm

    from data.base.cores import ordered_map
    from data.folder.word_stretch import examine
    from data.sources.splits import check_disjoint, count_table, write_corpus

    root = Path(os.path.abspath(args.folder))
    out = Path(os.path.abspath(args.out or ROOT / "datasets" / args.name))
    _refuse_to_overwrite(args.name, out, root, args.registry)
    files, elsewhere, noise = find_files(root)
    tasks = [([path for _, path in files[i:i + _CHUNK]], args.clip_seconds) for i in range(0, len(files), _CHUNK)]
    heard = []
    with tqdm(total=len(files), desc=f"listening to {args.name}", unit=" files", disable=None, leave=False) as progress:
        for results in ordered_map(examine, tasks):
            heard += results
            progress.update(len(results))

    skipped = [f"{path} (in no word folder)" for path in elsewhere] + [r for r in heard if isinstance(r, str)]
    clips = [(word, r) for (word, _), r in zip(files, heard, strict=True) if not isinstance(r, str)]
    if not clips:
        raise UserError(f"{root}: none of its {len(files):,} files is usable audio, for instance {skipped[-1]}")
    formats, rates = (Counter(getattr(r, key) for _, r in clips).most_common() for key in ("format", "rate"))
    say(f"{root}: {len(clips):,} audio files in {len({word for word, _ in clips}):,} word folders: "
        + ", ".join(f"{n:,} {name}" for name, n in formats) + "; " + ", ".join(f"{n:,} at {r} Hz" for r, n in rates))
    _say_some(say, "skipped", "other files", skipped)
    long = sorted((r for _, r in clips if r.seconds > r.duration), key=lambda r: -r.seconds)
    if long:
        say(f"cut to the loudest {args.clip_seconds:g} s: {len(long):,} longer files "
            f"({long[-1].seconds:.2f} to {long[0].seconds:.2f} s), such as {long[0].path} at {long[0].offset:.2f} s")
    clips = _without_repeats(clips, say)
    speakers = _speakers(args, clips, root, say)
    splits = _split(args, clips, speakers, say)
    _drop_untrained(splits, say)
    check_disjoint(splits, content=False)  # equal audio is gone already
    say(count_table(splits, sorted({u.label for u in splits["train"]})))
    if noise is not None and not _has_audio(noise):
        say(f"{noise}: no audio file that can be read, so no noise is registered")
        noise = None
    write_corpus(args.name, splits, out, noise=noise, made_by=_command(args), registry=args.registry, say=say)


def _without_repeats(clips: list, say: Callable[[str], None]) -> list:
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
    _say_some(say, "left out", "clips that repeat the audio of another", repeats)
    _say_some(say, "left out", "clips whose audio is under two words", contradictions)
    return kept


def _speakers(args: argparse.Namespace, clips: list, root: Path, say: Callable[[str], None]) -> list[str | None]:
    files = [(word, r.path) for word, r in clips]
    if args.speakers:
        speakers, how = by_table(files, args.speakers, root), f"by {args.speakers}"
    elif args.speaker_regex is not None:
        speakers, how = by_regex(files, args.speaker_regex, root), f"from file names by {args.speaker_regex}"
    else:
        speakers, how = by_likely_style(files)
    count = len(set(speakers) - {None})
    if how:
        say(f"speakers: {count:,}, {how}")
    if count < len(SPLITS):
        say("warning: " + (f"only {count} speaker{'s' * (count != 1)}" if how else "the file names tell no speakers "
            "(see --speaker_regex, --speakers)") + ": clips are divided one by one, so the test will not tell how "
            "well new speakers do")
        return [None] * len(clips)
    _say_some(say, "warning: no speaker is known for", "clips, which are divided one by one",
              [r.path for (_, r), speaker in zip(clips, speakers, strict=True) if speaker is None])
    return speakers


def _split(args: argparse.Namespace, clips: list, speakers: list[str | None],
           say: Callable[[str], None]) -> dict[str, list[Utterance]]:
    splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
    for what, group in (("speaker", [i for i, s in enumerate(speakers) if s is not None]),
                        ("clip", [i for i, s in enumerate(speakers) if s is None])):
        if not group:
            continue
        units = [speakers[i] or clips[i][1].digest for i in group]
        home = divide(units, [clips[i][0] for i in group], args.dev_percent, args.test_percent)
        shares = f"{args.dev_percent:g} % dev, {args.test_percent:g} % test"
        if len(home) >= MANY_SPEAKERS:
            say(f"split: each {what} by a hash of its {'name' if what == 'speaker' else 'audio'}, {shares}; recordings "
                "you add later move nobody")
        else:
            say(f"split: the {len(home)} {what}s divided to come near {shares} with every word in each; recordings "
                "you add later may change it")
        for i, unit in zip(group, units, strict=True):
            word, r = clips[i]
            splits[home[unit]].append(Utterance(r.path, word, r.duration, r.offset, speakers[i]))
    return splits


def _drop_untrained(splits: dict[str, list[Utterance]], say: Callable[[str], None]) -> None:
    count = {split: Counter(u.label for u in utterances) for split, utterances in splits.items()}
    lost = sorted(set(count["dev"] + count["test"]) - set(count["train"]))
    _say_some(say, "dropped", "words, whose few clips left none to train on",
              [f"{word} ({count['dev'][word] + count['test'][word]})" for word in lost])
    for split in splits:
        splits[split] = [u for u in splits[split] if u.label not in lost]
    if len(count["train"]) < 2:
        raise UserError(f"only {len(count['train'])} word has clips to train on; at least two words are needed")
    for split in ("dev", "test"):
        _say_some(say, f"not in {split}:", "words", sorted(set(count["train"]) - set(count[split])))


def _say_some(say: Callable[[str], None], before: str, what: str, items: Sequence[str], most: int = 5) -> None:
    if items:
        say(f"{before} {len(items):,} {what}: {'; '.join(items[:most])}" + ("; ..." if len(items) > most else ""))


def _has_audio(folder: Path) -> bool:
    import soundfile
    for path in sorted(folder.iterdir()):
        try:
            if soundfile.info(path).frames:
                return True
        except (soundfile.SoundFileError, OSError, TypeError, UnicodeError):
            pass
    return False


def _refuse_to_overwrite(name: str, out: Path, root: Path, registry: Path) -> None:
    if out == root or root in out.parents:
        raise UserError(f"--out {out}: lies in the folder of the recordings, which stays as it is; choose another")
    entry = read_registry(registry).get(name) if registry.exists() else None
    if entry and not str(entry.get("made_by", "")).startswith("python -m data.folder "):
        raise UserError(f"--name {name!r}: {registry} has another data set of that name; choose another name")


def _command(args: argparse.Namespace) -> str:
    """The command that makes these manifests again."""
    command = ["python", "-m", "data.folder", str(args.folder), "--name", args.name]
    for action in _parser()._actions:
        value = getattr(args, action.dest, None)
        if action.dest not in ("help", "folder", "name", "registry") and value != action.default:
            command += [action.option_strings[0], str(value)]
    return shlex.join(command)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data.folder", description="Make and register train, dev and test manifests from a folder of "
        f"one sub-folder per word. A folder {NOISE} is registered as noise; a folder _unknown_ becomes a class.",
        epilog="example: python -m data.folder recordings --name mywords --speaker_regex '^([a-z]+)[0-9]'",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder; its files are read, never changed")
    audio = parser.add_argument_group("audio")
    audio.add_argument("--clip_seconds", type=float, default=1.0, metavar="S",
                       help="longer files are cut to their loudest stretch of this length")
    split = parser.add_argument_group("speakers and splits")
    who = split.add_mutually_exclusive_group()
    who.add_argument("--speaker_regex", metavar="REGEX", help="its first group, searched in a file's path within its "
                     f"word folder, is the speaker (default: {OFFICIAL_STYLE} or {PREFIX_STYLE} if the names look so)")
    who.add_argument("--speakers", type=Path, metavar="FILE", help="CSV file with the columns file,speaker (paths "
                     "relative to DIR)")
    split.add_argument("--dev_percent", type=float, default=10.0, metavar="P", help="share of the dev split")
    split.add_argument("--test_percent", type=float, default=10.0, metavar="P", help="share of the test split")
    output = parser.add_argument_group("output")
    output.add_argument("--name", required=True, help="name to register, for --manifest")
    output.add_argument("--out", type=Path, metavar="DIR", help="folder of the manifests (default: datasets/<name>)")
    output.add_argument("--registry", type=Path, default=REGISTRY, metavar="FILE", help="registry of data sets")
    return parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    args = _parser().parse_args(argv)
    if not re.fullmatch(r"\w[\w.-]*", args.name):
        raise UserError(f"--name {args.name!r}: use letters, digits and . _ - only")
    if not 0 < args.clip_seconds < 1e6:
        raise UserError(f"--clip_seconds must be positive, not {args.clip_seconds:g}")
    if not (args.dev_percent > 0 and args.test_percent > 0 and args.dev_percent + args.test_percent < 100):
        raise UserError("--dev_percent and --test_percent must be positive and leave something for training")
    return args


if __name__ == "__main__":
    exit_cleanly(lambda: main(parse_args()))
