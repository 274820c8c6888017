"""The clips of a split, decoded once into one flat file of 16 kHz int16 samples that later runs map into memory.

Clips lie there at their own length; zero padding is added when read. Several programs may share a cache folder: each
holds a lock on what it has mapped, and removes only what nobody holds.
"""

import hashlib
import json
import os
import re
import sys
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

from data.audio.decoding import SAMPLE_RATE, decode_with_remarks, fit
from data.base.cores import ordered_map
from data.base.errors import UserError, first_few
from data.base.files import CACHE, lock, open_regular, read_npz, write_atomically
from data.manifests.manifest import Manifest

_FORMAT = 2  # of the cache; part of its key
_CHUNK = 1_000  # utterances decoded per task: bounds memory, amortises the pool's pickling
_SAMPLED = 1 << 23  # samples that a cache's checksum covers: all of 16 MB, or as many in blocks throughout
_BLOCKS = 128

Remarks = dict[str, tuple[int, str]]


@dataclass
class PackedClips:
    """The N clips of a manifest as 16 kHz samples in one memory-mapped file.

    Attributes:
        samples: flat int16, all clips one after another.
        start, length: (N,) int64, where each clip lies; length 0 marks a clip that could not be used.
        clip_samples: S, the length every clip is read at.
        bad: why a clip could not be used, by index.
        remarks: what is odd about clips that can be used: of how many, and the first one's file.
        centred: whether zeros are added at both ends of a short clip, not at its end alone.
    """

    samples: np.ndarray
    start: np.ndarray
    length: np.ndarray
    clip_samples: int
    bad: dict[int, str]
    remarks: Remarks = field(default_factory=dict)
    centred: bool = False

    def __len__(self) -> int:
        return len(self.start)

    def read(self, indices: Iterable[int]) -> np.ndarray:
        """The clips at ``indices`` as (B, S) int16, zero-padded."""
        indices = np.asarray(indices, np.int64)  # also when there are none
        clips = np.empty((len(indices), self.clip_samples), np.int16)
        samples = self.samples.view(np.ndarray)  # slices of a memmap are slow to make
        for row, start, length in zip(clips, self.start[indices].tolist(), self.length[indices].tolist(), strict=True):
            first = (self.clip_samples - length) // 2 if self.centred else 0
            row[:first] = 0
            row[first:first + length] = samples[start:start + length]
            row[first + length:] = 0
        return clips


def pack(manifest: Manifest, clip_seconds: float, name: str, cache_dir: str | Path = CACHE) -> PackedClips:
    """Decode every utterance of a manifest, or map the file that an earlier call left.

    The cache is keyed by the utterances and each audio file's path, size, times, permissions and inode. What an older
    state of the same name left is removed, unless a program has it mapped. Raises UserError where the cache folder
    cannot be written; a clip that cannot be used is no error here: see `usable`.

    ``name`` is shown by the progress bar and begins the cache files' names; one per data set and split.
    """
    clip_samples = round(clip_seconds * SAMPLE_RATE)
    stem = f"{name.replace(os.sep, '_')}-{clip_samples}"
    key = _content_key(manifest, clip_samples)
    cache = Path(cache_dir)
    audio_file, index_file = cache / f"{stem}-{key}.i16", cache / f"{stem}-{key}.npz"
    found = _read(index_file, audio_file, len(manifest), clip_samples)
    if found is not None:
        return found
    length, bad, remarks = np.zeros(len(manifest), np.int64), {}, {}
    # Slices are sent to other processes, not the manifest: it may be large.
    tasks = [([manifest.files[f] for f in manifest.file[i:i + _CHUNK]], manifest.offset[i:i + _CHUNK],
              manifest.duration[i:i + _CHUNK], clip_seconds) for i in range(0, len(manifest), _CHUNK)]
    decoded = chain.from_iterable(ordered_map(_decode_chunk, tasks))
    with write_atomically(audio_file, "wb") as file:
        for i, (clip, odd) in enumerate(tqdm(decoded, f"packing {name}", len(manifest), unit=" clips", disable=None,
                                             leave=False)):
            if isinstance(clip, str):
                bad[i] = clip
            else:
                length[i] = len(clip)
                file.write(clip.tobytes())
            for remark in odd:
                count, first = remarks.get(remark, (0, manifest.files[manifest.file[i]]))
                remarks[remark] = (count + 1, first)
        file.flush()
        kept = _kept(file)
    samples = _mapped(kept or open_regular(audio_file))
    with write_atomically(index_file, "wb") as file:  # written last: an index means that the audio is whole
        np.savez(file, length=length, about=json.dumps({"bad": bad, "remarks": remarks}), check=_checksum(samples))
    _remove_older(cache, stem, key)
    return PackedClips(samples, np.cumsum(length) - length, length, clip_samples, bad, remarks)


def usable(packed: PackedClips, manifest: Manifest, skip_bad_audio: bool) -> np.ndarray:
    """Indices of the clips that can be used. What is odd about some, and which classes have none, goes to stderr.

    Raises UserError where some cannot, and ``skip_bad_audio`` is off; or none can.
    """
    if packed.bad:
        count, reasons = len(packed.bad), list(packed.bad.values())
        if not skip_bad_audio or count == len(packed):
            raise UserError(f"{first_few(reasons, 1)} of {manifest.path}'s {len(packed)} clips; mend or remove it, or "
                            "leave such clips out with --skip_bad_audio")
        print(f"{manifest.path}: leaving out {count} of {len(packed)} clips: {first_few(reasons, between='; ')}",
              file=sys.stderr)
    if packed.remarks:
        print(f"warning: {manifest.path}: of its {len(packed):,} clips "
              + "; ".join(f"{count:,} {remark} (first: {first})" for remark, (count, first) in packed.remarks.items()),
              file=sys.stderr)
    rows = np.delete(np.arange(len(packed)), list(packed.bad))
    if len(lost := np.setdiff1d(manifest.label, manifest.label[rows])):
        print(f"warning: {manifest.path}: no clip is left of {len(lost):,} of its classes: "
              + first_few(repr(manifest.labels[i]) for i in lost), file=sys.stderr)
    return rows


def _content_key(manifest: Manifest, clip_samples: int) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {clip_samples}\n".encode())
    for path in manifest.files:
        try:
            state = os.stat(path)
            # The inode and its time of change tell a recording that was replaced by one of the same size and date.
            about = f"{state.st_size} {state.st_mtime_ns} {state.st_mode:o} {state.st_ino} {state.st_ctime_ns}"
        except OSError:
            about = "missing"
        digest.update(os.fsencode(path) + f"\0{about}\n".encode())
    for column in (manifest.file, manifest.offset, manifest.duration):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:16]


def _read(index_file: Path, audio_file: Path, clips: int, clip_samples: int) -> PackedClips | None:
    """A cached split; None if it is not there, or not whole (a crash, a half-deleted pair, another's content)."""
    try:
        audio = open_regular(audio_file)
        if lock(audio, shared=True) is False:  # it is just being removed
            audio.close()
            return None
        samples = _mapped(audio)
        with open_regular(index_file) as file:
            index = read_npz(file)
        length, check, about = index["length"], int(index["check"]), json.loads(str(index["about"]))
        bad = {int(i): reason for i, reason in about["bad"].items()}
        remarks = {remark: (int(count), str(first)) for remark, (count, first) in about["remarks"].items()}
        whole = (length.dtype == np.int64 and length.shape == (clips,) and length.min() >= 0
                 and length.max() <= clip_samples and length.sum() == len(samples)
                 and sorted(bad) == np.flatnonzero(length == 0).tolist() and _checksum(samples) == check)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):  # the last, of JSON too deep
        return None
    return PackedClips(samples, np.cumsum(length) - length, length, clip_samples, bad, remarks) if whole else None


def _mapped(file: IO) -> np.ndarray:
    """The samples of an open file, which is closed; the map keeps the file, and with it its lock, for as long."""
    with file:
        if os.fstat(file.fileno()).st_size < 2:  # an empty file cannot be mapped
            return np.zeros(0, np.int16)
        return np.memmap(file, np.int16, "r")


def _kept(file: IO) -> IO | None:
    """Another handle of an open file that keeps its lock, now a shared one: nobody removes it before it is mapped.

    None on Windows, which has no such lock and renames no file that is open.
    """
    if os.name == "nt":
        return None
    audio = os.fdopen(os.dup(file.fileno()), "rb")
    lock(audio, shared=True)
    return audio


def _checksum(samples: np.ndarray) -> int:
    """CRC-32 of int16 samples; of many, that of blocks spread evenly, from the first to the last."""
    samples = samples.view(np.ndarray)
    if len(samples) <= _SAMPLED:
        return zlib.crc32(samples)
    check, width = 0, _SAMPLED // _BLOCKS
    for start in np.linspace(0, len(samples) - width, _BLOCKS).astype(np.int64):
        check = zlib.crc32(samples[start:start + width], check)
    return check


def _remove_older(cache: Path, stem: str, key: str) -> None:
    """Remove what older states of a split left, and an index without audio, unless a program has it mapped."""
    ours = re.compile(re.escape(stem) + r"-([0-9a-f]{16})\.(i16|npz)")
    try:
        older = {found[1] for path in cache.iterdir() if (found := ours.fullmatch(path.name))} - {key}
    except PermissionError:  # a folder that may be written to, but not listed
        return
    for old in older:
        audio_file, index_file = cache / f"{stem}-{old}.i16", cache / f"{stem}-{old}.npz"
        with suppress(OSError):
            try:
                with open(audio_file, "r+b") as audio:  # some network drives lock only what may be written
                    if lock(audio):
                        index_file.unlink(missing_ok=True)
                        audio_file.unlink()
            except FileNotFoundError:
                index_file.unlink(missing_ok=True)


def _decode_chunk(task: tuple) -> list[tuple[np.ndarray | str, list[str]]]:
    """Some clips in order, and remarks on each; a reason in place of a clip that cannot be used."""
    *columns, clip_seconds = task
    length = round(clip_seconds * SAMPLE_RATE)
    clips: list[tuple[np.ndarray | str, list[str]]] = []
    for path, offset, duration in zip(*columns, strict=True):
        try:
            clip, remarks = decode_with_remarks(path, float(offset), float(duration), clip_seconds)
            clips.append((fit(clip, min(length, len(clip))), remarks))
        except UserError as error:
            clips.append((str(error), []))
    return clips
