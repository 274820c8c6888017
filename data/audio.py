"""From audio files to clips of one length: decode, resample, fit, and a packed int16 cache of a whole split.

Opening and decoding a file costs far more than using it, so a split is decoded once into one flat file of 16 kHz
samples that later runs map into memory. Clips lie there at their own length; zero padding is added when read.
"""

import hashlib
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from data.base.cores import ordered_map
from data.base.errors import UserError
from data.base.files import CACHE, write_atomically
from data.manifests import Manifest

SAMPLE_RATE = 16_000
_FORMAT = 1  # of the cache; part of its key
_ENDLESS = 2**48  # frames; libsndfile's answer for a FLAC header without a length is larger
_CHUNK = 1_000  # utterances decoded per task: bounds memory, amortises the pool's pickling


def decode(path: str, offset: float = 0.0, duration: float | None = None, longest: float | None = None) -> np.ndarray:
    """Decode part of an audio file to 16 kHz mono.

    Args:
        path: any format, rate and number of channels that libsndfile reads; channels are averaged.
        offset: start, seconds.
        duration: length, seconds; None, or more than there is, reads to the file's end.
        longest: of a part longer than this many seconds, only so much around its centre is decoded.

    Returns:
        (T,) int16.

    Raises:
        UserError: missing, unreadable, empty, truncated, all-zero or not-a-number audio, or an offset past its end.
    """
    try:
        with soundfile.SoundFile(path) as file:
            rate, total = file.samplerate, file.frames
            if total > _ENDLESS:
                raise UserError(f"{path}: its header does not say how long it is (a streamed file?); "
                                "convert it anew, for instance to WAV")
            start = round(offset * rate)
            if total == 0:
                raise UserError(f"{path}: has no audio in it")
            if start >= total:
                raise UserError(f"{path}: offset {offset:g} s is past its end at {total / rate:g} s")
            frames = total - start if duration is None else min(round(duration * rate), total - start)
            if frames == 0:
                raise UserError(f"{path}: a duration of {duration:g} s is less than one sample")
            if longest is not None and frames > (keep := -(-round(longest * SAMPLE_RATE) * rate // SAMPLE_RATE)):
                start, frames = start + (frames - keep) // 2, keep
            file.seek(start)
            exact = file.subtype == "PCM_16" and rate == SAMPLE_RATE and file.channels == 1
            samples = file.read(frames, dtype="int16" if exact else "float32", always_2d=True)
    except UnicodeError:
        raise UserError(f"{path!a}: the file's name is not valid UTF-8; rename it") from None
    except (soundfile.SoundFileError, OSError, TypeError) as error:  # TypeError: a .raw file, which has no header
        if not os.path.exists(path):
            raise UserError(f"{path}: no such audio file") from None
        reason = "it is empty" if os.path.isfile(path) and not os.path.getsize(path) else error
        raise UserError(f"{path}: cannot be decoded ({reason})") from None
    if len(samples) < frames - rate // 10:
        raise UserError(f"{path}: ends early: its header says {total / rate:g} s, but {len(samples) / rate:g} s "
                        f"can be read from {start / rate:g} s on; is the file complete?")
    if not np.isfinite(samples).all():
        raise UserError(f"{path}: contains samples that are not numbers (NaN or infinite)")
    samples = samples[:, 0] if exact else to_int16(soxr.resample(samples.mean(1), rate, SAMPLE_RATE))
    if not samples.any():
        raise UserError(f"{path}: silent to the bit"
                        + (f" from {offset:g} s to {offset + duration:g} s" if duration is not None else ""))
    return samples


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Full scale +-1 (float) to int16, rounded and clipped."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


def fit(samples: np.ndarray, length: int) -> np.ndarray:
    """Exactly ``length`` samples: a longer clip is cut around its centre, a shorter one zero-padded at its end.

    Args:
        samples: (T,) of any type.

    Returns:
        (length,) of the same type.
    """
    if len(samples) > length:
        start = (len(samples) - length) // 2
        return samples[start:start + length]
    return np.pad(samples, (0, length - len(samples)))


@dataclass
class PackedClips:
    """The N clips of a manifest as 16 kHz samples in one memory-mapped file.

    Attributes:
        samples: flat int16, all clips one after another.
        start, length: (N,) int64, where each clip lies; length 0 marks a clip that could not be used.
        clip_samples: S, the length every clip is read at.
        bad: why a clip could not be used, by index.
    """

    samples: np.ndarray
    start: np.ndarray
    length: np.ndarray
    clip_samples: int
    bad: dict[int, str]

    def __len__(self) -> int:
        return len(self.start)

    def read(self, indices: Iterable[int]) -> np.ndarray:
        """The clips at ``indices`` as (B, S) int16, zero-padded at their end."""
        indices = np.asarray(indices, np.int64)  # also when there are none
        clips = np.empty((len(indices), self.clip_samples), np.int16)
        samples = self.samples.view(np.ndarray)  # slices of a memmap are slow to make
        for row, start, length in zip(clips, self.start[indices].tolist(), self.length[indices].tolist(), strict=True):
            row[:length] = samples[start:start + length]
            row[length:] = 0
        return clips


def pack(manifest: Manifest, clip_seconds: float, name: str, cache_dir: str | Path = CACHE) -> PackedClips:
    """Decode every utterance of a manifest, or map the file that an earlier call left.

    The cache is keyed by the utterances and by each audio file's path, size, time and permissions, so a changed
    manifest or recording is decoded anew, as is a damaged cache; what an older state of the same name left is removed.

    Args:
        name: shown by the progress bar, and the start of the cache files' names; one per data set and split.

    Raises:
        UserError: the cache folder cannot be written. A clip that cannot be used is no error here: see `usable`.
    """
    clip_samples = round(clip_seconds * SAMPLE_RATE)
    stem = f"{name.replace(os.sep, '_')}-{clip_samples}"
    key = _content_key(manifest, clip_samples)
    cache = Path(cache_dir)
    audio_file, index_file = cache / f"{stem}-{key}.i16", cache / f"{stem}-{key}.npz"
    index = _read_index(index_file, audio_file)
    if index is None:
        length, bad = np.zeros(len(manifest), np.int64), {}
        with write_atomically(audio_file, "wb") as file:
            progress = tqdm(total=len(manifest), desc=f"packing {name}", unit=" clips", disable=None, leave=False)
            done = 0
            with progress:
                for clips in _decoded(manifest, clip_seconds):
                    for i, clip in enumerate(clips, done):
                        if isinstance(clip, str):
                            bad[i] = clip
                        else:
                            length[i] = len(clip)
                            file.write(clip.tobytes())
                    done += len(clips)
                    progress.update(len(clips))
        with write_atomically(index_file, "wb") as file:  # written last: an index means that the audio is whole
            np.savez(file, length=length, bad=json.dumps(bad))
        ours = re.compile(re.escape(stem) + r"-[0-9a-f]{16}\.(i16|npz)")
        for old in cache.iterdir():
            if ours.fullmatch(old.name) and key not in old.name:
                old.unlink(missing_ok=True)
    else:
        length, bad = index
    start = np.concatenate([[0], np.cumsum(length)[:-1]])
    samples = np.memmap(audio_file, np.int16, "r") if length.any() else np.zeros(0, np.int16)
    return PackedClips(samples, start, length, clip_samples, bad)


def usable(packed: PackedClips, manifest: Manifest, skip_bad_audio: bool) -> np.ndarray:
    """Indices of the clips that can be used.

    Raises:
        UserError: some cannot, and ``skip_bad_audio`` is off; or none can.
    """
    if not packed.bad:
        return np.arange(len(packed))
    count, reasons = len(packed.bad), list(packed.bad.values())
    if not skip_bad_audio or count == len(packed):
        more = f" (and {count - 1} more of {manifest.path}'s {len(packed)} clips)" if count > 1 else ""
        raise UserError(f"{reasons[0]}{more}; mend or remove it, or leave such clips out with --skip_bad_audio")
    print(f"{manifest.path}: leaving out {count} of {len(packed)} clips: "
          + "; ".join(reasons[:5]) + ("; ..." if count > 5 else ""), file=sys.stderr)
    return np.setdiff1d(np.arange(len(packed)), list(packed.bad))


def _content_key(manifest: Manifest, clip_samples: int) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {clip_samples}\n".encode())
    for path in manifest.files:
        try:
            state = os.stat(path)
            about = f"{state.st_size} {state.st_mtime_ns} {state.st_mode:o}"
        except OSError:
            about = "missing"
        digest.update(os.fsencode(path) + f"\0{about}\n".encode())
    for column in (manifest.file, manifest.offset, manifest.duration):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:16]


def _read_index(index_file: Path, audio_file: Path) -> tuple[np.ndarray, dict[int, str]] | None:
    """Lengths and reasons of a cached split; None if it is not there, or not whole (a crash, a half-deleted pair)."""
    try:
        with np.load(index_file) as index:
            length = index["length"]
            bad = {int(i): reason for i, reason in json.loads(str(index["bad"])).items()}
        whole = audio_file.stat().st_size == length.sum() * np.dtype(np.int16).itemsize
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return (length, bad) if whole else None


def _decoded(manifest: Manifest, clip_seconds: float) -> Iterator[list[np.ndarray | str]]:
    """The clips in order, a chunk at a time; a reason in place of a clip that cannot be used."""
    # Slices are sent, not the manifest: it may be large.
    tasks = [([manifest.files[f] for f in manifest.file[i:i + _CHUNK]], manifest.offset[i:i + _CHUNK],
              manifest.duration[i:i + _CHUNK], clip_seconds) for i in range(0, len(manifest), _CHUNK)]
    return ordered_map(_decode_chunk, tasks)


def _decode_chunk(task: tuple) -> list[np.ndarray | str]:
    paths, offsets, durations, clip_seconds = task
    length = round(clip_seconds * SAMPLE_RATE)
    clips: list[np.ndarray | str] = []
    for path, offset, duration in zip(paths, offsets, durations, strict=True):
        try:
            clip = decode(path, float(offset), float(duration), clip_seconds)
            clips.append(fit(clip, length) if len(clip) > length else clip)
        except UserError as error:
            clips.append(str(error))
    return clips
