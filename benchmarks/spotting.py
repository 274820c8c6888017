"""How many times as fast as real time spotting.find runs, what memory it takes, and how late spotting.listen tells.

The encoders are untrained, which changes no time, the sound is made, and each search is a process of its own. "times
real time" is the command's own line, start excluded; "CPU" its whole CPU time. Memory is the process's peak, libraries
included. The delay is from a sound's end to its line, at a stand-in for the microphone that plays at its own pace.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks import measure
from data.base.files import ROOT

RATE = 16_000


def parse_args(argv=None) -> argparse.Namespace:
    parser = measure.parser("spotting", __doc__, repeats=3)
    parser.add_argument("--models", nargs="+", default=["Res8", "Res15"])
    parser.add_argument("--widths", nargs="+", type=int, default=[45])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=300, help="of sound to search (Res15: a tenth)")
    parser.add_argument("--onnx", action="store_true", help="also as ONNX")
    parser.add_argument("--hours", type=float, nargs="*", default=[], metavar="H",
                        help="instead: search files of so many hours, and as many on standard input, for memory")
    parser.add_argument("--hop", type=float, default=0.1)
    parser.add_argument("--delay", type=int, metavar="N", help="instead: the delay of N sounds by the encoder PATH")
    parser.add_argument("--encoder", type=Path, default=ROOT / "pretrained" / "words", metavar="PATH")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if args.delay:
            print(delays(Path(folder), args.encoder, args.delay, args.hop))
            return
        rows = memory(Path(folder), args) if args.hours else speed(Path(folder), args)
    measure.show("spotting", rows, args)


def make(folder: Path, model: str, width: int) -> tuple[Path, Path]:
    """An untrained encoder and a file of three words that nothing is like. Returns the run's folder and the file."""
    import torch

    from models.encoders.build import make_encoder
    from models.runs.checkpoints import Run
    from spotting.encoders.load import load_torch
    from spotting.words.words_file import Clip, Word, Words, write_words

    torch.manual_seed(0)
    run = Run(folder, f"{model}-{width}")
    run.save({model: make_encoder(model, width)}, {}, 1, 1)
    run.write_config({"model": model, "hidden_size": width, "clip_seconds": 1.0})
    facts = load_torch(run.folder, None, None, 0).facts
    rng, words = np.random.default_rng(0), []
    for name in ("one", "two", "three"):
        x = rng.normal(size=(1, facts.width)).astype(np.float32)
        words.append(Word(name, [Clip("-", 0.0, 1.0, name, x / np.linalg.norm(x))], 0.0, 0.2, 0.8, 0.999))
    write_words(folder / f"{model}-{width}.json", Words(facts, words))
    return run.folder, folder / f"{model}-{width}.json"


def sound(seconds: float) -> np.ndarray:
    """(RATE * seconds,) int16, noise that swells four times a second."""
    t = np.arange(round(RATE * seconds)) / RATE
    noise = np.random.default_rng(0).standard_normal(len(t)).astype(np.float32)
    return (2000 * noise * np.sin(4 * np.pi * t) ** 2).astype(np.int16)


def watch(pid: int, peak: list[float]) -> None:
    """Keep a process's peak of resident memory, MB, until it ends. wait4's is not less than that of who started it."""
    while True:
        lines = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
        if not lines:
            return  # it has ended, and is not waited for yet
        peak[0] = int(lines[0].split()[1]) / 1024
        time.sleep(0.02)


def find(words: Path, recording: str, threads: int, *flags, feed=None) -> dict:
    """Run spotting.find. ``feed``: blocks of int16 for its standard input."""
    command = [sys.executable, "-m", "spotting.find", str(words), recording, *map(str, flags)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               stdin=subprocess.PIPE if feed else subprocess.DEVNULL)
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.append(process.stderr.read()))
    reader.start()
    peak = [0.0]
    watcher = threading.Thread(target=watch, args=(process.pid, peak))
    watcher.start()
    for block in feed or ():
        process.stdin.write(block.tobytes())
    if feed:
        process.stdin.close()
    reader.join()
    watcher.join()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    text = said[0].decode()
    times = re.search(r"([\d.]+) times real time", text)
    if process.returncode or not times:
        raise SystemExit(text)
    return {"times": float(times[1]), "cpu": used.ru_utime + used.ru_stime, "mb": peak[0],
            "wall": time.perf_counter() - began}


def speed(folder: Path, args: argparse.Namespace) -> list[dict]:
    import soundfile

    cases = {}
    for model in args.models:
        for width in args.widths:
            run, words = make(folder, model, width)
            seconds = args.seconds / (10 if model == "Res15" else 1)
            path = folder / f"{seconds:g}.wav"
            soundfile.write(path, sound(seconds), RATE)
            ways = {"torch": []}
            if args.onnx:
                subprocess.run([sys.executable, "-m", "spotting.export", "--encoder", run, "--out", f"{run}.onnx",
                                "--check", path], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
                ways["ONNX"] = ["--onnx", f"{run}.onnx"]
            for way, flags in ways.items():
                for threads in args.threads:
                    cases[model, width, way, threads] = (words, str(path), threads, "--hop", args.hop, *flags)
    found = {case: [] for case in cases}
    for _ in range(args.repeats):  # in turn, so that a slow moment of a shared machine meets them all
        for case, call in cases.items():
            found[case].append(find(*call))
    return [{"model": model, "channels": width, "by": way, "threads": threads,
             "times real time": f"{np.median([r['times'] for r in runs]):.1f}",
             "least to most": f"{min(r['times'] for r in runs):.1f} to {max(r['times'] for r in runs):.1f}",
             "CPU s": f"{np.median([r['cpu'] for r in runs]):.1f}", "peak MB": f"{max(r['mb'] for r in runs):.0f}"}
            for (model, width, way, threads), runs in found.items()]


def memory(folder: Path, args: argparse.Namespace) -> list[dict]:
    import soundfile

    _, words = make(folder, args.models[0], args.widths[0])
    minute, rows = sound(60), []
    for hours in args.hours:
        path, minutes = folder / "long.wav", round(60 * hours)
        with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16", format="RF64") as file:
            for _ in range(minutes):
                file.write(minute)
        for name, recording, feed in (("file", str(path), None),
                                      ("standard input", "-", (minute for _ in range(minutes)))):
            run = find(words, recording, args.threads[-1], "--hop", args.hop, feed=feed)
            rows.append({"from": name, "hours": hours, "hop s": args.hop, "peak MB": f"{run['mb']:.0f}",
                         "wall": measure.duration(run["wall"])})
        path.unlink()
    return rows


def delays(folder: Path, encoder: Path, count: int, hop: float) -> str:
    """Median and worst delay of the hits of ``count`` equal sounds, that come at the pace of a microphone."""
    import torch

    from spotting.encoders.load import load_torch
    from spotting.listen import hits
    from spotting.words.words_file import Clip, Word

    torch.set_num_threads(2)
    embedder = load_torch(encoder, None, None, 0)
    t = np.arange(RATE) / RATE
    loudness = 6000 * np.clip(20 * np.minimum(t - 0.2, 0.8 - t), 0, 1)
    said = (loudness * np.sin(2 * np.pi * np.cumsum(300 + 1500 * t) / RATE)).astype(np.int16)
    noise = np.random.default_rng(0).normal(0, 20, (count + 1, round(2.5 * RATE))).astype(np.int16)
    quiet, room = noise[:-1], noise[-1, :RATE]  # a word is enrolled from the room that it is said in
    x = embedder((said + room)[None])
    level = float(embedder.cohort.level(x)[0]) if embedder.cohort else 0.0
    word = Word("sound", [Clip("-", 0.0, 1.0, "-", x)], 0.0, 0.2, 0.8, 1 - level - 0.1)
    quiet[:, RATE // 2:RATE // 2 + RATE] += said
    samples, block, begun = quiet.reshape(-1), RATE // 20, time.monotonic()

    def blocks():
        for at in range(0, len(samples), block):
            wait = begun + (at + block) / RATE - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            yield samples[at:at + block]

    late = [time.monotonic() - begun - hit.end for hit in hits(blocks(), embedder, [word], round(hop * RATE))]
    if not late:
        raise SystemExit("no sound was found; is this encoder trained?")
    return (f"{len(late)} lines for {count} sounds, {np.median(late):.2f} s after their end in the median, "
            f"{max(late):.2f} s at worst, {min(late):.2f} s at best")


if __name__ == "__main__":
    main(parse_args())
