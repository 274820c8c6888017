"""Windows of other people's speech for a cohort: from which recordings, and what is said in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data.base.errors import UserError
from data.decoding import SAMPLE_RATE, decode, fit, open_audio
from spotting.encoders.cohort import Cohort, pack, unpack
from spotting.encoders.load import Embedder
from spotting.sound.blocks import has_sound

WINDOWS = 5_000  # 450 kB; more than an hour of speech
LEAST = 30  # below which there is no tail worth the name
RUNNING = 2.0  # times a window's length, from which on a recording is running speech, not a word
Spoken = dict[str, list[tuple[float, float, str]]]  # of files: start, end, word


def training_files(name: str, registry: Path) -> tuple[list[str], Spoken]:
    """The training recordings of a data set, and where which of its words is said in them."""
    from data import joined

    train, spoken = joined.load(name, ("train",), registry).splits["train"], defaultdict(list)
    for i in range(len(train)):
        clip = train[i]
        spoken[clip.path].append((clip.offset, clip.offset + clip.duration, clip.label))
    return list(spoken), spoken


def aligned(files: list[str], folder: Path, say: Callable[[str], None]) -> Spoken:
    """What is said in recordings by the TextGrids of the same names in a folder. Raises UserError if none has one."""
    from data.sources.textgrids import SILENCE, TextGridError, read_words

    grids = {path.stem: path for path in sorted(folder.rglob("*.TextGrid"))}
    spoken, problems = {}, []
    for file in files:
        if (grid := grids.get(Path(file).stem)) is None:
            continue
        try:
            tier = read_words(grid)
        except TextGridError as error:
            problems.append(f"{grid}: {error}")
            continue
        spoken[file] = [(start, end, mark) for start, end, mark in zip(tier.start, tier.end, tier.mark, strict=True)
                        if mark not in SILENCE]
    if problems:
        say(f"left out {len(problems)} TextGrids, such as {problems[0]}")
    if not spoken:
        raise UserError(f"--alignments {folder}: no usable TextGrid is named as a recording is, such as "
                        f"{Path(files[0]).stem}.TextGrid")
    return spoken


def gather(embedder: Embedder, files: list[str], spoken: Spoken, seed: int, say: Callable[[str], None]) -> Cohort | str:
    """A cohort of windows at random places of recordings, about as many a second from each; or why there is none.

    Recordings of single words are passed over where there is running speech.
    """
    import soundfile
    from tqdm import tqdm


    length, rng, lengths, broken = embedder.facts.clip_seconds, np.random.default_rng(seed), {}, []
    for file in files:
        try:
            with open_audio(file) as sound:
                lengths[file] = sound.frames / sound.samplerate
        except (UserError, OSError, soundfile.LibsndfileError) as error:
            broken.append(str(error))
    running = {file: seconds for file, seconds in lengths.items() if seconds >= RUNNING * length} or lengths
    places = [(file, rng.uniform(0, max(0.0, seconds - length)))
              for file, seconds in running.items() for _ in range(max(1, round(seconds / length)))]
    chosen = sorted(rng.permutation(len(places))[:WINDOWS])
    by_file = defaultdict(list)
    for i in chosen:
        by_file[places[i][0]].append(places[i][1])
    clips, said = [], []
    for file, starts in tqdm(by_file.items(), desc="cohort", unit=" files", disable=None, leave=False):
        try:
            samples = decode(file)
        except UserError as error:
            broken.append(str(error))
            continue
        for start in starts:
            first = round(start * SAMPLE_RATE)
            clip = fit(samples[first:first + embedder.facts.clip_samples], embedder.facts.clip_samples)
            if has_sound(clip[None])[0]:
                clips.append(clip)
                said.append(" ".join(word for begun, ended, word in spoken.get(file, ())
                                     if begun < start + length and ended > start))
    for reason in broken[:5]:
        say(f"left out {reason}")
    if len(broken) > 5:
        say(f"left out {len(broken) - 5} more that cannot be used")
    if len(clips) < LEAST:
        return f"only {len(clips)} windows with sound, and a cohort needs {LEAST}: name more recordings"
    facts = embedder.facts
    return unpack(pack(embedder(np.stack(clips)), said, facts.sha256), facts.sha256, facts.width)
