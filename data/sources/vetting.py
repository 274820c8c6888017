"""Is every clip usable, and is any recording in two splits? What a data source asks before it writes manifests."""

import hashlib
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from data.audio.decoding import SAMPLE_RATE, decode_with_remarks
from data.base.cores import each
from data.base.errors import UserError
from data.base.messages import first_few
from data.manifests.manifest import Utterance
from data.sources.splits import Splits

Digests = dict[tuple[str, float], bytes]  # by path and offset: SHA-1 of the clip's 16 kHz samples
_CHUNK = 500  # clips decoded per task


def vet(clips: Sequence[Utterance], skip_bad_audio: bool = False) -> tuple[list[Utterance], Digests]:
    """The usable clips with their true durations, in order, and their hashes; what is odd goes to stderr.

    Args:
        clips: a duration of 0 stands for the whole file.
        skip_bad_audio: name clips that cannot be used on stderr and leave them out.

    Raises:
        UserError: clips that cannot be used, without ``skip_bad_audio``, or all are.
    """
    places = [(clip.path, clip.offset, clip.duration or None) for clip in clips]
    found = list(each(hear, places, _CHUNK, "checking audio", " clips"))
    bad = [result for result in found if isinstance(result, str)]
    if bad and (not skip_bad_audio or len(bad) == len(clips)):
        raise UserError(f"{bad[0]} ({len(bad):,} of {len(clips):,} clips cannot be used); "
                        "mend them, or leave them out with --skip_bad_audio")
    if bad:
        print(f"leaving out {len(bad):,} of {len(clips):,} clips that cannot be used: {first_few(bad, 3)}",
              file=sys.stderr)
    usable, digests, remarks = [], {}, []
    for clip, result in zip(clips, found, strict=True):
        if not isinstance(result, str):
            duration, odd, digests[clip.path, clip.offset] = result
            usable.append(replace(clip, duration=duration))
            remarks.append((clip.path, odd))
    for line in doubtful(remarks):
        print(f"warning: {line}", file=sys.stderr)
    return usable, digests


def doubtful(clips: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """Lines that count the clips (path, remarks of `decode_with_remarks`) about which something is odd."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path, remarks in clips:
        for remark in remarks:
            found[remark].append(path)
    return [f"{len(paths):,} clips {remark}: {first_few(paths, 3)}" for remark, paths in found.items()]


def contradictions(clips: Iterable[Utterance], digests: Digests) -> list[tuple[Utterance, Utterance]]:
    """Pairs of clips with the same audio and different labels, of which one must be wrong: each with the first."""
    first: dict[bytes, Utterance] = {}
    pairs = []
    for clip in clips:
        twin = first.setdefault(digests[clip.path, clip.offset], clip)
        if twin.label != clip.label:
            pairs.append((twin, clip))
    return pairs


def without_copies(splits: Splits, digests: Digests, drop_duplicates: bool) -> Splits:
    """Splits that share no audio: of two copies the one in test stays, else the one in dev; the other is named.

    Raises:
        UserError: there are copies and ``drop_duplicates`` is off.
    """
    first: dict[bytes, tuple[str, Utterance]] = {}
    kept, copies = {split: [] for split in splits}, []
    for split in ("test", "dev", "train"):
        for clip in splits[split]:
            other, twin = first.setdefault(digests[clip.path, clip.offset], (split, clip))
            if other == split:
                kept[split].append(clip)
            else:
                copies.append(f"{clip.path} ({split}) = {twin.path} ({other})")
    if copies and not drop_duplicates:
        raise UserError(f"{len(copies):,} clips have the same audio as one of another split: {first_few(copies, 3)}; "
                        "leave the copies in training (or, of dev and test, in dev) out with --drop_duplicates")
    if copies:
        print(f"left out {len(copies):,} copies of other splits' audio: {first_few(copies, 3)}", file=sys.stderr)
    return kept


def hear(clips: Sequence[tuple[str, float, float | None]], longest: float | None = None
         ) -> list[tuple[float, list[str], bytes] | str]:
    """Of each clip (path, offset, duration) its length, what is odd about it and its hash; or why it cannot be used.

    Args:
        longest: see `decode_with_remarks`.
    """
    results: list[tuple[float, list[str], bytes] | str] = []
    for path, offset, duration in clips:
        try:
            samples, remarks = decode_with_remarks(path, offset, duration, longest)
            results.append((len(samples) / SAMPLE_RATE, remarks, hashlib.sha1(samples.tobytes()).digest()))
        except UserError as error:
            results.append(str(error))
    return results
