"""Words found in sound as it comes: what `spotting.listen` hears by, and what a program of your own can call."""

from __future__ import annotations

import itertools
import json
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from data.audio.decoding import SAMPLE_RATE
from data.audio.files import sound_file
from data.base.files import write_atomically
from spotting.encoders.load import Embedder, load_onnx, load_torch
from spotting.hits import NEARLY, NOTHING, Hit, Peak, beaten, hit_of, of_one_saying, reach, scored, shift_of
from spotting.sound.blocks import at_16_khz, before
from spotting.sound.heard import Heard
from spotting.words.words_file import Word, read_words, suited

PATIENCE = 2  # windows that must not score higher before a hit is given; those after them can only be the same hit
AROUND = 0.25  # seconds kept before and after a word


def load_words(path: str | Path, encoder: str | Path | None = None, hop: float = 0.1, all_words: bool = False
               ) -> Spotter:
    """What finds the words of a file that ``spotting.enroll`` wrote in sound that comes piece by piece.

    Args:
        encoder: a run's folder, a checkpoint, or an ONNX file that ``spotting.export`` wrote, if the encoder is no
            longer where it was when the words were enrolled.
        hop: seconds between windows.
        all_words: also give a word where another one is further above its threshold.

    Raises:
        UserError: a damaged file, or an encoder that is not there or not the words' own.
    """
    words = read_words(path)
    source = Path(encoder or words.encoder.path)
    embedder = load_onnx(source) if source.suffix == ".onnx" else load_torch(source, None, None, 0)
    return Spotter(suited(words, embedder, path), words.words, embedder.facts.hop_samples(hop), all_words)


class Spotter:
    """Gives hits as soon as they are decided, about 0.6 s after a word's end. ``heard`` is what is known of the
    sound so far."""

    def __init__(self, embedder: Embedder, words: Sequence[Word], hop: int, all_words: bool = False):
        self.heard = Heard()
        self._length, self._hop, self._pieces = embedder.facts.clip_samples, hop, deque()
        self._fed, self._seen = 0, 0  # samples; windows
        self._steps = hits(self._coming(), embedder, words, hop, self.heard, all_words)

    def feed(self, samples: np.ndarray) -> list[Hit]:
        """The hits that more sound decides: (n,) int16, or floating in [-1, 1], one channel at 16 kHz; any n. Raises
        UserError: samples that are no numbers, or far beyond full scale."""
        samples = np.asarray(samples)
        if samples.ndim != 1 or not (samples.dtype == np.int16 or samples.dtype.kind == "f"):
            raise TypeError(f"samples are {samples.dtype} of shape {samples.shape}; give (n,) int16 or floating")
        for piece in at_16_khz([samples[:, None]], SAMPLE_RATE, "samples"):
            self._pieces.append(piece)
            self._fed += len(piece)
        whole = (before(self._length, self._hop) * self._hop + self._fed - self._length) // self._hop + 1
        found = []
        while self._seen < whole:  # each window is one step, and its samples are here
            found += next(self._steps)
            self._seen += 1
        return found

    def finish(self) -> list[Hit]:
        """The hits that are decided by there being no more sound."""
        return [hit for step in self._steps for hit in step]

    def _coming(self) -> Iterator[np.ndarray]:
        while self._pieces:
            yield self._pieces.popleft()


def hits(blocks: Iterable[np.ndarray], embedder: Embedder, words: Sequence[Word], hop: int, heard: Heard,
         all_words: bool = False) -> Iterator[list[Hit]]:
    """The hits that each window decides: early, but one for each that spotting.find finds.

    If a later window scores higher after all, of this word (see `Early`) or of another in the same place, no more is
    given. ``heard`` is kept up to date.
    """
    given: list[Hit] = []
    early = [Early(i, reach(word, hop, embedder.facts.heard_samples), PATIENCE, word.threshold)
             for i, word in enumerate(words)]

    def decided(peaks) -> list[Hit]:
        found = [hit_of(peak, words[peak.word], hop) for peak in peaks if peak]
        if found and not all_words:
            rivals = [hit_of(peak, words[peak.word], hop) for one in early if (peak := one.waiting)] + found
            found = [hit for hit in found
                     if not beaten(hit, rivals) and not any(of_one_saying(hit, other) for other in given)]
            given[:] = [*given, *found][-len(words):]
        return [hit.within(heard.seconds) for hit in found]

    for first, scores, backs in scored(blocks, embedder, words, hop, heard, 1):
        yield decided([one.push(first, scores[0, i], int(backs[0, i])) for i, one in enumerate(early)])
    yield decided([one.finish() for one in early])


class Early:
    """Peaks of one word given early, one for each that `PeakPicker` finds at or above a threshold.

    A window that scores higher than those before it that overlap it, and than the ``patience`` windows after it, is
    given as soon as its shift is known. A later one that overlaps it and scores higher counts as the same.
    """

    def __init__(self, word: int, reach: int, patience: int, threshold: float):
        self.word, self.reach, self.patience, self.threshold = word, reach, min(patience, reach), threshold
        self.window = -1
        self.recent = [NOTHING] * (2 * reach + 1)  # scores up to that of ``window``
        self.best: tuple[int, int] | None = None  # window and windows back of what may be given
        self.top: int | None = None  # the window of what was given

    def push(self, window: int, score: float, back: int) -> Peak | None:
        """The peak that the next window decides, if any."""
        score = np.float32(score)
        self.window, self.recent = window, [*self.recent[1:], score]
        earlier = self.recent[len(self.recent) - 1 - self.reach:-1]
        if score >= self.threshold and score > max(earlier, default=-np.inf):
            if self.top is not None and window - self.top <= self.reach:
                self.top = window  # the hit that was given
            else:
                self.best = window, back
        if self.best is None or (since := window - self.best[0]) < self.patience:
            return None
        after = self.recent[len(self.recent) - since:]
        broken = min(after, default=np.inf) < self.recent[-1 - since] - NEARLY
        return self.finish() if broken or since >= self.reach // 2 else None

    @property
    def waiting(self) -> Peak | None:
        """The peak that is given unless a higher one comes."""
        if self.best is None:
            return None
        (last, back), half = self.best, self.reach // 2
        at = len(self.recent) - 1 - (self.window - last)
        scores = np.array([*self.recent[at - half:at + half + 1]] + [NOTHING] * half, np.float32)[:2 * half + 1]
        return Peak(self.word, last - back, last, float(scores[half]), shift_of(scores))

    def finish(self) -> Peak | None:
        """What waits, if anything does, is given now."""
        peak = self.waiting
        if peak:
            self.best, self.top = None, peak.last
        return peak


class Recent:
    """The last half minute of a sound, of which what was taken for a word is kept in ``folder``; None keeps nothing."""

    def __init__(self, folder: Path | None, most: float = 30.0):
        self.folder, self._most, self._last, self._end = folder, round(most * SAMPLE_RATE), np.zeros(0, np.int16), 0
        self.begun: float | None = None  # by `time.time`, when the first sample was heard of a sound that is live
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def passing(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The blocks (n,) int16 as they are, which are remembered."""
        for block in blocks:
            if self.begun is None:
                self.begun = time.time() - len(block) / SAMPLE_RATE
            if self.folder is not None:
                self._last = np.concatenate([self._last, block])[-self._most - len(block):]
                self._end += len(block)
            yield block

    def keep(self, hit: Hit, name: str) -> None:
        """Write the sound of a hit, with a quarter of a second around it, as NAME-WORD-SECONDS.flac; if there is one
        already, as NAME-WORD-SECONDS-2.flac and so on."""
        if self.folder is None:
            return
        start = self._end - len(self._last)
        low, high = (max(0, round(at * SAMPLE_RATE) - start) for at in (hit.start - AROUND, hit.end + AROUND))
        stem = self.folder / f"{name}-{hit.word}-{hit.start:.2f}"
        names = (f"{stem}{'' if i == 1 else f'-{i}'}.flac" for i in itertools.count(1))
        with write_atomically(next(name for name in names if not Path(name).exists()), "wb") as file:
            file.write(sound_file(self._last[low:high]))


def as_json(hit: Hit, begun: float | None = None, recording: str | None = None) -> str:
    """A hit as a line of JSON: times in seconds, and, if a stream's first sample came at ``begun`` by `time.time`, the
    clock's time at the word's end."""
    clock = {} if begun is None else {
        "time": datetime.fromtimestamp(begun + hit.end).astimezone().isoformat(timespec="milliseconds")}
    where = {} if recording is None else {"recording": recording}
    return json.dumps({**clock, **where, "word": hit.word, "start": round(hit.start, 3), "end": round(hit.end, 3),
                       "score": round(hit.score, 6)}, ensure_ascii=False)
