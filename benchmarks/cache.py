"""The packed audio cache against reading every clip's file, on as many files as Speech Commands V2 has for training.

One-second 16-bit WAV files of noise, in folders by word, are read in the same class-balanced batches both ways: by
soundfile, one after another, and by `data.dataset` out of the cache. "cold" means that the files' pages were dropped
from memory before each measurement; their names and inodes were not. Also packing itself, opening a cache that is
there, and packing anew after one file was touched. "peak" is the packing process beyond its manifest, and its largest
worker.
"""

import argparse
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import soundfile

from benchmarks import measure, memory
from data.audio import SAMPLE_RATE, pack
from data.manifests import Manifest, Utterance, read_manifest, write_manifest

WORDS = 35


def generate(folder: Path, files: int) -> Path:
    """Write the files and their manifest, and wait until they are on the disk. Returns the manifest."""
    rng = np.random.default_rng(0)
    noise = rng.integers(-3000, 3000, 8 * SAMPLE_RATE, np.int16)
    sample = io.BytesIO()
    soundfile.write(sample, noise[:SAMPLE_RATE], SAMPLE_RATE, "PCM_16", format="WAV")
    header = sample.getvalue()[:-2 * SAMPLE_RATE]
    utterances = []
    for word in range(WORDS):
        (folder / f"word{word:02}").mkdir()
    for n, start in enumerate(rng.integers(7 * SAMPLE_RATE, size=files)):
        path = folder / f"word{n % WORDS:02}" / f"{n * 2_654_435_761 % 2**32:08x}_nohash_0.wav"
        path.write_bytes(header + noise[start:start + SAMPLE_RATE].tobytes())
        utterances.append(Utterance(str(path), path.parent.name, 1.0))
    write_manifest(folder / "train.json", utterances)
    os.sync()  # a page that is not yet written cannot be dropped
    return folder / "train.json"


def drop(paths) -> None:
    """Have these files' pages forgotten."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def timed(functions: dict[str, tuple[Callable, Callable]], repeats: int) -> dict[str, measure.Timing]:
    """Like `measure.in_turn`, each function after an untimed one."""
    seconds = {name: [] for name in functions}
    for _ in range(repeats):
        for name, (before, function) in functions.items():
            before()
            began = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - began)
    return {name: measure.Timing(values) for name, values in seconds.items()}


def prepare_pack(path: Path, share: int, cache: Path):
    """Packing one in ``share`` of a manifest's clips; returns the largest worker's MB."""
    import resource  # Windows has none

    manifest = part(path, share)

    def work() -> float:
        pack(manifest, 1.0, f"one_in_{share}", cache)
        for worker in active_children():  # only one that has ended tells its peak
            worker.join()
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6

    return work


def part(path: Path, share: int) -> Manifest:
    manifest = read_manifest(path)
    return manifest.subset(np.arange(0, len(manifest), share))


def packing(path: Path, cache: Path, repeats: int) -> list[dict[str, object]]:
    """Packing a tenth and all, opening both again, and a touched tenth."""
    rows = []

    def add(what: str, share: int, repeats: int, fresh: bool = False) -> None:
        used = []
        for _ in range(repeats):
            if fresh:
                shutil.rmtree(cache, ignore_errors=True)
            used.append(memory.in_own_process(prepare_pack, path, share, cache))
        timing = measure.Timing([one.seconds for one in used])
        clips = len(part(path, share))
        rows.append({"what": what, "clips": clips, "time": timing, "clips/s": clips / timing.median,
                     "peak MB": max(one.extra for one in used), "worker's peak MB": max(one.result for one in used)})

    add("packing", 10, repeats, fresh=True)
    (packed,) = cache.glob("*.i16")
    os.utime(part(path, 10)[0].path)
    add("packing, one file touched", 10, 1)  # again, it would find what this one packed
    if packed.exists():
        raise SystemExit(f"{packed}: was not packed anew")
    add("packing", 1, repeats, fresh=True)
    add("opening the cache", 1, repeats)
    return rows


def reading(path: Path, cache: Path, args: argparse.Namespace) -> list[dict[str, object]]:
    from data.dataset import Clips, loader
    from data.sampler import BalancedBatchSampler

    manifest = read_manifest(path)
    clips = Clips.of(manifest, "one_in_1", 1.0, cache)
    sampler = BalancedBatchSampler(manifest.label, manifest.labels, WORDS, args.per_class, num_steps=args.steps)
    files = [manifest.files[manifest.file[i]] for batch in sampler for i in batch]
    audio = list(cache.glob("one_in_1-*.i16"))

    def by_file():
        for batch in sampler:
            waveforms = np.zeros((len(batch), SAMPLE_RATE), np.int16)
            for row, i in zip(waveforms, batch, strict=True):
                samples, _ = soundfile.read(manifest.files[manifest.file[i]], dtype="int16")
                row[:len(samples)] = samples

    def drop_cache():
        nonlocal clips
        clips = None  # the pages of a file that is mapped would stay
        drop(audio)
        clips = Clips.of(manifest, "one_in_1", 1.0, cache)

    def from_cache():
        for waveforms, _ in loader(clips, sampler):
            assert waveforms.shape[1] == SAMPLE_RATE

    times = timed({"files, cold": (lambda: drop(files), by_file), "cache, cold": (drop_cache, from_cache),
                   "files, warm": (lambda: None, by_file), "cache, warm": (lambda: None, from_cache)}, args.repeats)
    return [{"what": f"reading {name}", "clips": len(files), "time": timing, "clips/s": len(files) / timing.median,
             "files cold / this": times["files, cold"].over(timing),
             "files warm / this": times["files, warm"].over(timing)} for name, timing in times.items()]


def main() -> None:
    parser = measure.parser("cache", __doc__, repeats=3)
    parser.add_argument("--files", type=int, default=84_843, help="files to generate, 32 kB each (default: 84843)")
    parser.add_argument("--per_class", type=int, default=10, help=f"clips of each of {WORDS} words in a batch "
                                                                  "(default: 10)")
    parser.add_argument("--steps", type=int, default=60, help="batches to read (default: 60)")
    args = parser.parse_args()
    if args.files < 10 * WORDS or args.per_class < 2 or min(args.steps, args.repeats) < 1:
        parser.error(f"at least {10 * WORDS} files, 2 clips of a word, 1 step and 1 repeat")
    folder = Path(tempfile.mkdtemp(prefix="cache-"))
    try:
        path = generate(folder, args.files)
        rows = packing(path, folder / "cache", args.repeats)
        rows += reading(path, folder / "cache", args)
    finally:
        shutil.rmtree(folder)
    measure.show("cache", rows, args, batch=args.per_class * WORDS)


if __name__ == "__main__":
    main()
