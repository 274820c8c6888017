"""Windows of other people's speech for a cohort: from which recordings, what is said in them, and where which word."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.audio.decoding import SAMPLE_RATE, open_audio
from data.base.errors import UserError
from data.base.files import write_atomically
from data.manifests import corpus as corpora
from data.sources.textgrids import TextGridError, read_word_tier
from models.enrolment.cohort import Whitening
from models.enrolment.kept_cohort import Cohort, pack, unpack
from models.runs.checkpoints import Run, run_of
from spotting.encoders.load import BATCH, Embedder, Facts, load_torch
from spotting.sound.blocks import Sound, has_sound, open_file
from spotting.sound.conditions import heard_elsewhere

WINDOWS = 5_000  # 450 kB; more than an hour of speech
LEAST = 30  # below which there is no tail worth the name
RUNNING = 2.0  # times a window's length, from which on a recording is running speech, not a word
WORDS = 4_000  # windows that the whitening is learnt from; by measurement, twice as many are no better
PER_WORD = 150
SHORTEST = 0.15  # seconds of a word
Spoken = dict[str, list[tuple[float, float, str]]]  # of files: start, end, word


def heard_in_training(facts: Facts, recordings: dict[str, Sequence[tuple[str, float, float | None]]],
                      channel: int | None = None) -> tuple[str | None, list[str]]:
    """Why it is not known what an encoder was trained on, None if it is; and a line for each kind of recordings of
    which some were in the training. ``recordings`` are (file, from second, to second or None) by what they are."""
    from models.runs.provenance import trained_on

    run, lines = run_of(facts.path), []
    record, lacking = trained_on(run) if run else (None, [facts.path])
    unknown = f"what the encoder was trained on is not known ({', '.join(lacking)} kept no record): if recordings " \
        "are among it, or of its speakers, errors look rarer than they are" if lacking else None
    lengths = {facts.clip_samples, facts.heard_samples}  # it may have begun with the weights of one without context
    for what, files in recordings.items() if record else ():
        found = []
        for file, start, end in tqdm(files, desc="trained on?", unit=" files", disable=None, leave=False):
            samples = heard_of(open_file(file, lambda _: None, start, end, channel=channel))
            found += [file] * any(record.in_recording(file, samples, start, length) for length in lengths)
        if found:
            lines.append(f"{len(found):,} of the {len(files):,} {what}, such as {found[0]}, are recordings "
                         "that the encoder was trained on: at these, errors look rarer than they are")
    return unknown, lines


def heard_of(sound: Sound) -> np.ndarray:
    """(T,) int16, all of a sound."""
    return np.concatenate([np.zeros(0, np.int16), *sound.blocks])


def training_files(name: str, registry: Path) -> tuple[list[str], Spoken]:
    """The training recordings of a data set, and where which of its words is said in them."""
    train, spoken = corpora.load_corpus(name, ("train",), registry).splits["train"], defaultdict(list)
    for clip in map(train.__getitem__, range(len(train))):
        spoken[clip.path].append((clip.offset, clip.offset + clip.duration, clip.label))
    return list(spoken), spoken


def aligned(files: list[str], folder: Path, say: Callable[[str], None]) -> Spoken:
    """What is said in recordings by the TextGrids of the same names in a folder. Raises UserError if none has one."""
    grids, spoken = {path.stem: path for path in sorted(folder.rglob("*.TextGrid"))}, {}
    for file, grid in ((file, grids[Path(file).stem]) for file in files if Path(file).stem in grids):
        try:
            spoken[file] = [(start, end, word) for word, start, end in read_word_tier(grid).words()]
        except TextGridError as error:
            say(f"left out {grid}: {error}")
    if not spoken:
        raise UserError(f"--alignments {folder}: no usable TextGrid is named as a recording is, such as "
                        f"{Path(files[0]).stem}.TextGrid")
    return spoken


def gather(embedder: Embedder, files: list[str], spoken: Spoken, seed: int, say: Callable[[str], None],
           centred: Run | None = None) -> Cohort:
    """A cohort of windows at random places of recordings, about as many a second from each; of the encoder that
    `centre` writes to the run ``centred``, if there is one. Raises UserError: too few windows have sound.

    Recordings of single words are passed over where there is running speech. Windows in the middle of which a word is
    said that is said in others, too, give the whitening, if they are enough: as they are, in rooms and in noise.
    """
    facts, rng, lengths = embedder.facts, np.random.default_rng(seed), {}
    for file in files:
        try:
            with open_audio(file) as sound:
                lengths[file] = sound.frames / sound.samplerate
        except UserError as error:
            say(f"left out {error}")
    running = {file: s for file, s in lengths.items() if s >= RUNNING * facts.clip_seconds} or lengths
    places = [(file, rng.uniform(0, max(0.0, seconds - facts.clip_seconds)))
              for file, seconds in running.items() for _ in range(max(1, round(seconds / facts.clip_seconds)))]
    places = [places[i] for i in sorted(rng.permutation(len(places))[:WINDOWS])]
    words = words_to_compare(spoken, lengths, facts.clip_seconds, rng)
    clips = cut([*places, *((file, start) for file, start, _ in words)], facts.clip_samples, say)
    heard = [i for i in range(len(places)) if i in clips]
    if len(heard) < LEAST:
        raise UserError(f"only {len(heard)} windows with sound, and a cohort needs {LEAST}: name more recordings")
    windows = np.stack([clips[i] for i in heard])
    if centred:
        embedder = centre(embedder, windows, centred)
        facts = embedder.facts
    bare = replace(embedder, cohort=None)
    texts = [" ".join(word for begun, ended, word in spoken.get(file, ())
                      if begun < start + facts.clip_seconds and ended > start)
             for file, start in (places[i] for i in heard)]
    there = [(clips[i], word) for i, (_, _, word) in enumerate(words, len(places)) if i in clips]
    labels = np.array([word for _, word in there], str)
    whitening = None
    if there:
        known = np.stack([clip for clip, _ in there])  # (N, S)
        every = np.stack([heard_elsewhere(clip[None], halls=0)[:, 0] for clip in known], 1)  # (C, N, S)
        embeddings = [bare(known)]
        if Whitening.fit(embeddings[0], labels):  # the same clips in other conditions do not make them many
            embeddings += map(bare, every)
        whitening = Whitening.fit(np.concatenate(embeddings), np.tile(labels, len(embeddings)))
    content = pack(bare(windows), texts, facts.sha256, whitening, labels)
    return unpack(content, facts.sha256, facts.width)


def centre(embedder: Embedder, windows: np.ndarray, out: Run) -> Embedder:
    """Write an encoder as another run, whose last layer's bias has the mean of what it gave of windows (N, S) of speech
    taken off. Raises UserError for an encoder without such a layer."""
    import torch

    from models.encoders.load import find_checkpoint, load_encoder
    from models.runs.provenance import Record

    run, model, step = find_checkpoint(embedder.facts.path)
    encoder, found = load_encoder(embedder.facts.path), []
    project = getattr(encoder.encoder, "project", None)
    if not isinstance(project, torch.nn.Linear):
        raise UserError(f"--centred: {embedder.facts} has no last layer with a bias; train with --embedding_size")
    project.register_forward_hook(lambda *passed: found.append(passed[-1]))
    for first in range(0, len(windows), BATCH):
        encoder(torch.from_numpy(windows[first:first + BATCH]))
    with torch.no_grad():
        project.bias -= torch.cat(found).mean(0)
    with write_atomically(out.path(model, step), "wb") as file:
        torch.save(encoder.encoder.state_dict(), file)
    if record := Record.read(run):
        record.write(out)
    out.write_config({name: value for name, value in run.config().items() if name != "shipped"} |
                     {"centred": {"from": embedder.facts.path, "windows": len(windows)}})
    return load_torch(out.folder, step, model, 0)


def words_to_compare(spoken: Spoken, lengths: dict[str, float], clip_seconds: float,
                     rng: np.random.Generator) -> list[tuple[str, float, str]]:
    """(file, start, word) of at most `WORDS` windows with a word in the middle, in the order of ``spoken``: words that
    are said twice at least and last long enough to be heard, and of each at most `PER_WORD`."""
    by_word = defaultdict(list)
    for file, entries in spoken.items():
        for begun, ended, word in entries:
            if file in lengths and ended - begun >= SHORTEST:
                by_word[word].append((file, (begun + ended - clip_seconds) / 2, word))
    chosen = [group[i] for group in by_word.values() if len(group) > 1 for i in rng.permutation(len(group))[:PER_WORD]]
    return [chosen[i] for i in sorted(rng.permutation(len(chosen))[:WORDS])]


def cut(places: list[tuple[str, float]], length: int, say: Callable[[str], None]) -> dict[int, np.ndarray]:
    """(S,) int16 of ``length`` samples from each place, a file and a second in it, that has sound; by its number.

    What lies before a file's beginning or after its end is zeros. What cannot be decoded is told.
    """
    by_file, clips = defaultdict(list), {}
    for i, (file, start) in enumerate(places):
        by_file[file].append((i, round(start * SAMPLE_RATE)))
    for file, starts in tqdm(by_file.items(), desc="cohort", unit=" files", disable=None, leave=False):
        try:
            samples = heard_of(open_file(file, say))
        except UserError as error:
            say(f"left out {error}")
            continue
        for i, first in starts:
            missing = max(0, -first)
            found = samples[max(0, first):max(0, first + length)]
            clip = np.pad(found, (missing, length - missing - len(found)))
            if has_sound(clip[None])[0]:
                clips[i] = clip
    return clips
