"""Made-up clips and a test on them: no encoder is needed to make a page."""

from types import SimpleNamespace

import numpy as np
import pytest

from data.audio.dataset import Clips
from data.audio.packed import PackedClips
from data.manifests.manifest import Manifest
from models.enrolment.enrol import unit
from models.neighbours import classify
from models.report.outcome import Outcome
from models.report.page.content import page_of_clips
from models.report.tables import png, report

LABELS = ["bed", "cat", "dog"]


def make_clips(folder, split, labels, each, rng, seconds=1.0):
    """Noise, a burst a clip, shorter than a second; every other clip has an offset, every clip a speaker."""
    count, samples = len(labels) * each, round(16_000 * seconds)
    length = samples - 40 * np.arange(count) % 4000
    start = np.concatenate([[0], np.cumsum(length)[:-1]])
    sound = (3000 * rng.standard_normal(length.sum())).astype(np.int16)
    files = [str(folder / f"{split}{i}.wav") for i in range(count)]
    manifest = Manifest(folder / f"{split}.json", list(labels), files, np.arange(count, dtype=np.int32),
                        np.where(np.arange(count) % 2, 1.25, 0.0), length / 16_000,
                        np.repeat(np.arange(len(labels)), each).astype(np.int32),
                        np.array([f"s{i}" for i in range(count)], object))
    return Clips(PackedClips(sound, start, length, samples, {}), manifest, np.arange(count))


def make_vectors(clips, rng, spread=0.9):
    """(N, 8) of length 1, those of a class around one direction."""
    middle = np.random.default_rng(9).standard_normal((len(clips.manifest.labels), 8))
    noise = spread * rng.standard_normal((len(clips), 8)) * 1.6
    return unit(middle[clips.manifest.label] + noise).astype(np.float32)


def small_picture():
    from matplotlib.figure import Figure

    return png(Figure(figsize=(1, 1)))


@pytest.fixture
def tested(tmp_path, capsys):
    """Make a test of k = 3 neighbours and its page: what was printed, the report's result, the page and its parts."""
    def make(labels=LABELS, each=(6, 8), seed=0, notes=(), picture=None):
        rng = np.random.default_rng(seed)
        train, test = (make_clips(tmp_path, split, labels, n, rng) for split, n in zip(("train", "test"), each,
                                                                                       strict=True))
        a, b = make_vectors(train, rng), make_vectors(test, rng)
        found = classify(a, train.manifest.label, b, 3)
        capsys.readouterr()
        outcome = Outcome("knn-x", test.manifest, found.labels, {"k": 3, "manifest": "x"}, distances=found.distances)
        result = report(tmp_path / "run", outcome)
        page = page_of_clips(outcome, result, test, train, found, {"map": picture or small_picture()}, notes)
        return SimpleNamespace(printed=capsys.readouterr().out, result=result, page=page, train=train, test=test,
                               found=found, vectors=(a, b))
    return make
