"""How fast, and in how much memory, `data.libriwords` turns TextGrids into manifests.

Generates TextGrids like the public LibriSpeech alignments (tiers ``words`` and ``phones``, about 13 kB each, words by
Zipf's law over 30,000 types, 921 speakers), with a silent recording linked under every utterance's name. Then it
runs the command on a quarter of them, on all, and once more, killed half way and started again.
"""

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

PARTS, SPEAKERS, TYPES = 4, 921, 30_000
GOAL = 100_000  # files, in 30 minutes and 2 GB
FREQUENT = ["the", "and", "of", "to", "a", "in", "he", "i", "that", "was"]


def generate(folder: Path, files: int) -> int:
    """Write the corpus below ``folder``; returns the bytes of TextGrids."""
    rng = np.random.default_rng(0)
    words = np.array(FREQUENT + [_made_up(i) for i in range(TYPES - len(FREQUENT))])
    chance = 1 / (np.arange(TYPES) + 2.0)
    chance /= chance.sum()
    (folder / "silent").mkdir(parents=True, exist_ok=True)
    silent = [folder / "silent" / f"{s}.flac" for s in range(SPEAKERS)]  # a file has room for so many links only
    for path in silent:
        soundfile.write(path, np.zeros(40 * 16_000, np.int16), 16_000)
    size = 0
    for n in range(files):
        speaker, name = n % SPEAKERS, f"{n % SPEAKERS + 100}-{n // SPEAKERS // 50 + 1000}-{n // SPEAKERS % 50:04}"
        inside = Path(f"part-{speaker % PARTS}", *name.split("-")[:2])
        spoken = rng.choice(words, rng.integers(26, 60), p=chance)
        grid, audio = folder / "alignments" / inside / f"{name}.TextGrid", folder / "audio" / inside / f"{name}.flac"
        for path in (grid, audio):
            path.parent.mkdir(parents=True, exist_ok=True)
        text = _textgrid(spoken, rng)
        grid.write_text(text, encoding="utf-8")
        size += len(text)
        if not audio.exists():
            os.link(silent[speaker], audio)
    return size


def run(folder: Path, part: str, out: str, stop_at: int | None = None) -> tuple[float, float]:
    """Make the manifests of one part of the corpus, or of all with "".

    Args:
        stop_at: kill the process once so many chunks are read.

    Returns:
        seconds; most MB that its processes together held, pages they share counted for each.
    """
    began, peak = time.monotonic(), 0
    process = subprocess.Popen(
        [sys.executable, "-m", "data.libriwords", "--librispeech", folder / "audio" / part, "--alignments",
         folder / "alignments" / part, "--out", folder / out, "--registry", folder / out / "registry.json"],
        stdout=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None:
        peak = max(peak, _memory(process.pid))
        if stop_at is not None and len(list((folder / out / "scan").glob("[!.]*.npz"))) >= stop_at:
            os.killpg(process.pid, 9)
            process.wait()
            break
        time.sleep(0.1)
    if process.returncode and stop_at is None:
        raise SystemExit(f"data.libriwords failed with {process.returncode}")
    return time.monotonic() - began, peak / 1e6


def package_speed(folder: Path, files: int = 200) -> float:
    """Files a second that the textgrid package reads."""
    import textgrid

    grids = [path for path, _ in zip((folder / "alignments").rglob("*.TextGrid"), range(files), strict=False)]
    began = time.monotonic()
    for path in grids:
        textgrid.TextGrid.fromFile(str(path))
    return len(grids) / (time.monotonic() - began)


def _made_up(number: int) -> str:
    letters = ""
    while number or not letters:
        number, digit = divmod(number, 20)
        letters += "bcdfghjklmnpqrstvwxz"[digit] + "aeiou"[digit % 5]
    return letters


def _textgrid(words: np.ndarray, rng: np.random.Generator) -> str:
    now, spoken, phones = 0.0, [], []
    for word, silence in zip(words, rng.random(len(words)) < 0.12, strict=True):
        for mark, count in ((("", 1),) if silence else ()) + ((word, max(2, len(word) * 3 // 4)),):
            start = now
            for length in rng.integers(3, 16, count):
                phones.append((now, now + length / 100, "sil" if not mark else "AH0"))
                now += length / 100
            spoken.append((start, now, mark))
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0.0", f"xmax = {now:.2f}",
             "tiers? <exists>", "size = 2", "item []:"]
    for number, (name, tier) in enumerate((("words", spoken), ("phones", phones)), 1):
        lines += [f"\titem [{number}]:", '\t\tclass = "IntervalTier"', f'\t\tname = "{name}"', "\t\txmin = 0.0",
                  f"\t\txmax = {now:.2f}", f"\t\tintervals: size = {len(tier)}"]
        for i, (start, end, mark) in enumerate(tier, 1):
            lines += [f"\t\tintervals [{i}]:", f"\t\t\txmin = {start:.2f}", f"\t\t\txmax = {end:.2f}",
                      f'\t\t\ttext = "{mark}"']
    return "\n".join(lines) + "\n"


def _memory(parent: int) -> int:
    """Resident bytes of a process and its descendants, by Linux's /proc."""
    total, processes = 0, [parent]
    while processes:
        process = processes.pop()
        try:
            total += int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
            for task in Path(f"/proc/{process}/task").iterdir():
                processes += map(int, (task / "children").read_text().split())
        except OSError:  # it ended meanwhile
            continue
    return total


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.textgrids", description=__doc__.split("\n\n")[0],
                                     epilog="example: python -m benchmarks.textgrids --files 10000")
    parser.add_argument("--files", type=int, default=10_000, metavar="N", help="TextGrids to generate (default 10000)")
    parser.add_argument("--dir", type=Path, metavar="DIR",
                        help="an empty folder to generate them in and leave there (default a temporary one)")
    args = parser.parse_args()
    if args.files < SPEAKERS:
        parser.error(f"--files {args.files}: at least {SPEAKERS}, one for each speaker")
    if args.dir is not None and args.dir.exists() and any(args.dir.iterdir()):
        parser.error(f"--dir {args.dir}: is not empty")
    folder = args.dir or Path(tempfile.mkdtemp(prefix="textgrids-"))
    try:
        began = time.monotonic()
        size = generate(folder, args.files)
        print(f"generated {args.files:,} TextGrids, {size / 1e6:,.0f} MB ({size / args.files / 1e3:.1f} kB each), "
              f"in {time.monotonic() - began:.0f} s; {GOAL / args.files:g} times as many are the goal", flush=True)
        _, quarter = run(folder, "part-0", "quarter")
        took, peak = run(folder, "", "all")
        growth = (peak - quarter) / (args.files * (1 - 1 / PARTS)) * 1000
        print(f"data.libriwords, four sizes: {took:.1f} s, {args.files / took:,.0f} files/s, "
              f"{size / took / 1e6:.1f} MB/s")
        print(f"peak memory {peak:.0f} MB; {quarter:.0f} MB with a quarter of the files, "
              f"so {growth:.1f} MB per 1,000 more")
        print(f"at {GOAL:,} files, in proportion: {took * GOAL / args.files / 60:.1f} minutes, "
              f"{peak + growth * (GOAL - args.files) / 1000:.0f} MB")
        killed, _ = run(folder, "", "again", stop_at=args.files // 2000)
        again, _ = run(folder, "", "again")
        same = all(filecmp.cmp(path, folder / "again" / path.relative_to(folder / "all"), shallow=False)
                   for path in (folder / "all").glob("*/*.json"))
        print(f"killed after {killed:.1f} s and started again: {again:.1f} s more, "
              f"{'the same' if same else 'OTHER'} bytes")
        print(f"the textgrid package alone, one process: {package_speed(folder):,.0f} files/s")
    finally:
        if args.dir is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
