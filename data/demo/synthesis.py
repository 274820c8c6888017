"""Words spoken by eSpeak NG, each voice a speaker of one split, in the layout of Speech Commands."""

import glob
import json
import os
import shutil
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import soxr
from tqdm import tqdm

from data.audio.decoding import SAMPLE_RATE, to_int16
from data.audio.files import write_sound
from data.base.cores import cores
from data.base.errors import UserError, first_few
from data.base.files import ROOT, check_name, read_json
from data.base.labels import look_alike
from data.demo.espeak import Saying, speak
from data.manifests.manifest import Utterance, write_manifest
from data.manifests.registry import REGISTRY, SPLITS, claim_name, register
from data.sources.splits import Splits, count_table

WORDS = [
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy",
    "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop",
    "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
]
# Of 104 variants. Left out: 26 robots, whispers, echoes and experiments; 9 on whose words an encoder trained
# on real Speech Commands (the published res15_35, nearest centroid of real clips) is right 80 % or less; and 7 within
# 1.2 dB (log-mel, equal loudness) of one that is kept, for they would put one voice into two splits.
VOICES = [
    "Alex", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Hugo", "Jacky", "Mario", "Michael", "Mike",
    "Mr_serious", "Nguyen", "Reed", "Storm", "adam", "anika", "antonio", "aunty", "belinda", "boris", "caleb",
    "croak", "david", "ed", "edward2", "f1", "f2", "f3", "f4", "f5", "grandma", "grandpa", "gustave", "iven",
    "iven2", "iven3", "iven4", "john", "linda", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "max", "miguel",
    "mike2", "pablo", "paul", "pedro", "quincy", "rob", "robert", "sandro", "steph", "victor", "zac",
]
# American, British, Received Pronunciation. The other dialects turn words into others: Scottish learn into "len".
DIALECTS, DIALECT_SHARES = ("en-us", "en", "en-gb-x-rp"), (0.5, 0.25, 0.25)
HELD_OUT = 0.125  # share of the voices in dev, and again in test
RATES, PITCHES, RANGES = (130, 191), (35, 66), (30, 71)  # words a minute; eSpeak's 0-99, 50 being the voice's own
SHIFT_SECONDS = 0.1  # of a word, either way
NOISE_SECONDS, NOISE_PEAK = 30, 0.5
NOISES = ("white", "pink", "babble")
PEAKS_DB, SNRS_DB = (-24.0, -2.0), (20.0, 40.0)
DEFAULTS = {"seed": 0, "voices": len(VOICES), "takes": 4}
_FORMAT = 1  # of the recipe below: a changed one makes the data anew
_RECORD = "made.json"  # what a folder was made with; marks it as ours
_BUILDING = ".building"  # ending of a folder that is being made
MOST_SHOWN = 60  # words whose counts are printed one by one
NOISE = "_background_noise_"


def make(out: str | Path = ROOT / "datasets" / "demo", seed: int = DEFAULTS["seed"],
         registry: str | Path = REGISTRY, *, name: str = "demo", voices: int = DEFAULTS["voices"],
         takes: int = DEFAULTS["takes"], words: Sequence[str] | None = None,
         voices_per_word: int | None = None, made_by: str = "python -m data.demo") -> None:
    """Synthesise the data set into ``out`` and register it as ``name``; the same arguments give the same bytes.

    What is there already, made with the same arguments, is left alone. Nothing half-made is ever seen under ``out``.

    Args:
        voices: how many of VOICES speak; an eighth of them are heard in dev only and an eighth in test only.
        takes: how often each of them says each word.
        words: what they say; None is `WORDS`.
        voices_per_word: so many of the training voices say each word, drawn for each, and an eighth as many of those of
            dev and of test; None lets all of them.
        made_by: the command that makes it again.
    """
    out = Path(os.path.realpath(out))  # a link stays: what it leads to is made
    claim_name(name, out, registry, "python -m data.demo")
    recipe = {"format": _FORMAT, "seed": seed, "voices": voices, "takes": takes}
    if words is not None:
        recipe["words"] = _checked(words)
    if voices_per_word is not None:
        recipe["voices_per_word"] = voices_per_word
    if not _is_made(out, recipe):
        _build(out, recipe)
    register(name, **{split: out / f"{split}.json" for split in SPLITS}, noise=out / NOISE,
             made_by=made_by, registry=registry)


def _checked(words: Sequence[str]) -> list[str]:
    """The words to say, each once, sorted. Raises UserError for fewer than two, or one that can be no folder's name."""
    if len(found := sorted(set(words))) < 2:
        raise UserError(f"--words: {len(found)} word{'s' * (len(found) != 1)}; give at least two")
    for word in found:
        check_name("--words", word)
        if word.startswith((".", "_", "#")):
            raise UserError(f"--words {word!r}: starts with {word[0]!r}, as no word does; leave it out")
    return found


def _is_made(folder: Path, recipe: dict) -> bool:
    """Whether a folder was made by a recipe; not if it is empty, or not there. Raises UserError for anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    with suppress(UserError):  # not there, or not ours
        if read_json(folder / _RECORD) == recipe and all((folder / f"{split}.json").exists() for split in SPLITS):
            return True
    raise UserError(f"{folder}: exists and was not made by data.demo with these arguments; choose another folder with "
                    "--out or remove it")


def _build(out: Path, recipe: dict) -> None:
    """Make ``out`` by a recipe."""
    out.parent.mkdir(parents=True, exist_ok=True)
    for leftover in out.parent.glob(f".{glob.escape(out.name)}.*{_BUILDING}"):  # of a killed run, not of one at work
        if time.time() - leftover.stat().st_mtime > 3600:
            shutil.rmtree(leftover, ignore_errors=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=_BUILDING, dir=out.parent))
    try:
        building.chmod(0o755)  # mkdtemp makes private folders
        splits, unsaid = _synthesise(building, recipe)
        if len(made := {u.label for u in splits["train"]}) < 2:
            raise UserError(f"--words: of {len(recipe.get('words', WORDS))} words, voices can say "
                            f"{', '.join(sorted(made)) or 'none'} within a second, and two are needed; give others")
        for split in SPLITS:
            write_manifest(building / f"{split}.json", splits[split])
        (building / _RECORD).write_text(json.dumps(recipe) + "\n", encoding="utf-8", newline="\n")
        try:
            building.rename(out)  # fails if there is a folder with anything in it by now
        except OSError:
            if not _is_made(out, recipe):  # by another run, meanwhile
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    _report(out, recipe, splits, unsaid)


def _report(out: Path, recipe: dict, splits: Splits, unsaid: Counter) -> None:
    labels = sorted({u.label for u in splits["train"]})
    if len(labels) <= MOST_SHOWN:
        print(count_table(splits, labels))
    else:
        print(f"{len(labels):,} words: " + ", ".join(f"{len(splits[split]):,} {split}" for split in SPLITS) + " clips")
    for line in look_alike(labels):
        print(f"warning: {line}")
    if unsaid:
        print(f"left out {sum(unsaid.values()):,} clips of {len(unsaid):,} words that a voice cannot say within a "
              f"second, such as {min(unsaid)}")
    if lost := sorted(set(recipe.get("words", WORDS)) - set(labels)):
        print(f"dropped {len(lost):,} words of which no training clip is left: {first_few(lost, 20)}")
    print(f"made of {recipe['voices']} eSpeak NG voices in {out}")


def _synthesise(folder: Path, recipe: dict) -> tuple[dict[str, list[Utterance]], Counter]:
    """Write all clips and the noise into ``folder``. Returns the utterances by split, sorted by word and file, and how
    many clips of each word did not fit into a second."""
    split_of = assign(recipe["seed"], recipe["voices"])
    words = recipe.get("words", WORDS)
    says = divide(words, split_of, recipe)
    for word in [*words, NOISE]:
        (folder / word).mkdir()
    splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
    clean: list[np.ndarray] = []  # words of training voices, to make babble of
    unsaid: Counter = Counter()
    with ThreadPoolExecutor(min(len(split_of), cores())) as pool:
        recorded = pool.map(lambda voice: _record(folder, voice, says[voice], recipe), split_of)
        for voice, (utterances, sounds, long) in zip(
                tqdm(split_of, "synthesising", unit=" voices", disable=None, leave=False), recorded, strict=True):
            splits[split_of[voice]] += utterances
            unsaid.update(long)
            if split_of[voice] == "train":
                clean += sounds[:len(WORDS)]
    write_noise(folder / NOISE, clean, np.random.default_rng([recipe["seed"], _FORMAT]))
    trained = {u.label for u in splits["train"]}
    for word in set(words) - trained:  # dev and test cannot have what train lacks
        shutil.rmtree(folder / word)
    kept = {split: sorted((u for u in utterances if u.label in trained), key=lambda u: u.path)
            for split, utterances in splits.items()}
    return kept, unsaid


def divide(words: Sequence[str], split_of: dict[str, str], recipe: dict) -> dict[str, list[str]]:
    """The words that each voice says, in the order in which it says them."""
    most = recipe.get("voices_per_word")
    if most is None:
        return {voice: list(words) for voice in split_of}
    says: dict[str, list[str]] = {voice: [] for voice in split_of}
    for word in words:
        rng = np.random.default_rng([recipe["seed"], zlib.crc32(word.encode()), 1])
        for split in SPLITS:
            voices = [voice for voice, its in split_of.items() if its == split]
            count = most if split == "train" else max(1, round(most * HELD_OUT))
            for i in sorted(rng.permutation(len(voices))[:count]):
                says[voices[i]].append(word)
    return says


def assign(seed: int, voices: int) -> dict[str, str]:
    """Which voices speak, and the split of each."""
    chosen = [VOICES[i] for i in np.random.default_rng(seed).permutation(len(VOICES))[:voices]]
    held_out = max(1, round(voices * HELD_OUT))
    split_of = dict.fromkeys(chosen, "train")
    split_of |= dict.fromkeys(chosen[:held_out], "dev") | dict.fromkeys(chosen[held_out:2 * held_out], "test")
    return split_of


def _record(folder: Path, voice: str, says: Sequence[str],
            recipe: dict) -> tuple[list[Utterance], list[np.ndarray], list[str]]:
    """Its utterances; its words without noise, (T,) float32 each; and the words, once a clip, that are too long."""
    if not says:
        return [], [], []
    # A generator of its own, so that a voice's clips depend on neither the other voices nor the threads.
    rng = np.random.default_rng([recipe["seed"], zlib.crc32(voice.encode())])
    dialect = rng.choice(DIALECTS, p=DIALECT_SHARES)
    sayings = [Saying(word, *(int(rng.integers(*bounds)) for bounds in (RATES, PITCHES, RANGES)))
               for _ in range(recipe["takes"]) for word in says]
    rate, spoken = speak(f"{dialect}+{voice.replace('_', ' ')}", sayings)
    words = [trim(soxr.resample(samples.astype(np.float32) / 32768, rate, SAMPLE_RATE)) for samples in spoken]
    utterances, long = [], []
    for i, (saying, word) in enumerate(zip(sayings, words, strict=True)):
        if not 0 < len(word) <= SAMPLE_RATE:
            long.append(saying.word)
            continue
        path = folder / saying.word / f"{voice.lower()}_nohash_{i // len(says)}.wav"
        write_sound(path, to_int16(place(word, rng)))
        utterances.append(Utterance(str(path), saying.word, 1.0, speaker=voice.lower()))
    return utterances, words, long


def trim(samples: np.ndarray) -> np.ndarray:
    """(T,) without the silence at both ends: what lies 60 dB or more under the peak."""
    loud = np.flatnonzero(np.abs(samples) > 1e-3 * np.abs(samples).max(initial=0))
    return samples[loud[0]:loud[-1] + 1] if len(loud) else samples[:0]


def place(word: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(16000,) in [-1, 1]: a word (T,) near the middle, at a random level, over some coloured noise."""
    room = SAMPLE_RATE - len(word)
    shift = rng.uniform(-SHIFT_SECONDS, SHIFT_SECONDS) * SAMPLE_RATE
    start = int(np.clip(room / 2 + shift, 0, room))
    word = word * (10 ** (rng.uniform(*PEAKS_DB) / 20) / np.abs(word).max())
    power = np.mean(word ** 2) * 10 ** (-rng.uniform(*SNRS_DB) / 10)
    clip = coloured_noise(SAMPLE_RATE, rng.uniform(0, 1), rng) * np.float32(np.sqrt(power))
    clip[start:start + len(word)] += word
    return clip


def coloured_noise(length: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """(length,) float32 of power 1, whose power falls with frequency to the ``slope``: 0 is white, 1 pink."""
    spectrum = np.fft.rfft(rng.standard_normal(length, np.float32))
    bins = np.arange(len(spectrum), dtype=np.float32)
    spectrum *= np.maximum(bins, length * 50 // SAMPLE_RATE) ** np.float32(-slope / 2)  # flat under 50 Hz
    noise = np.fft.irfft(spectrum, length)
    return noise / np.sqrt(np.mean(noise ** 2))


def write_noise(folder: Path, words: list[np.ndarray], rng: np.random.Generator) -> None:
    """White noise, pink noise, and a babble of the training voices: of those ``words`` that are heard and fit in."""
    length = NOISE_SECONDS * SAMPLE_RATE
    babble = np.zeros(length)
    words = [word for word in words if 0 < len(word) < length]
    if not words:
        return  # of such a set nothing else is left either
    for i in rng.integers(len(words), size=8 * NOISE_SECONDS):  # about four voices at any time
        start = rng.integers(length - len(words[i]))
        babble[start:start + len(words[i])] += words[i] / np.sqrt(np.mean(words[i] ** 2))
    for kind, sound in zip(NOISES, (coloured_noise(length, 0, rng), coloured_noise(length, 1, rng), babble),
                           strict=True):
        write_sound(folder / f"{kind}.wav", to_int16(sound * (NOISE_PEAK / np.abs(sound).max())))
