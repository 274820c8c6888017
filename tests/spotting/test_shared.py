"""Words found by an encoder whose windows share their work: the same hits as window by window, in files and streams."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from models.context import SHARED
from models.encoders.build import make_encoder
from models.encoders.frontend import LogMel, settings
from models.runs.checkpoints import Run
from spotting import enroll, load_words
from spotting.encoders.load import load_torch
from spotting.hits.search import search
from spotting.sound.blocks import Sound
from spotting.words.words_file import read_words
from tests.spotting.conftest import RATE, scene

HOP = 1440


@pytest.fixture(scope="module")
def enrolled(spotter, tmp_path_factory):
    """The words file of bed and cat by such an encoder, whose batch norms know such sounds."""
    torch.manual_seed(0)
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("shared")
    encoder = make_encoder("Res8", 45, compression=SHARED)
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    sounds = [scene(rng, [(i % 6, 0.4 + 0.4 * rng.random())] if i % 4 else [], 1.6)[:22_400] for i in range(48)]
    with torch.no_grad():
        encoder(LogMel(SHARED).eval()(torch.from_numpy(np.stack(sounds)).float()))
    run = Run(folder / "runs", "context")
    run.save({"Res8": encoder}, {}, 1, 1)
    run.write_config({"model": "Res8", "hidden_size": 45, "clip_seconds": 1.4, "frontend": settings(SHARED)})
    assert enroll.main(enroll.parse_args(["--clips", str(spotter.clips), "--out", str(folder / "words.json"),
                                          "--background", str(spotter.background), "--encoder", str(run.folder)])) == 0
    return folder / "words.json"


@pytest.fixture(scope="module")
def sound():
    rng = np.random.default_rng(5)
    made = scene(rng, [(i % 3, at) for i, at in enumerate(np.arange(0.3, 20, 1.9))], 20.0)
    return (32768 * made).astype(np.int16)


def test_hits_are_those_of_each_window_alone(enrolled, sound):
    words = read_words(enrolled)
    embedder = load_torch(words.encoder.path, None, None, 0)
    assert embedder.shared and words.words[0].end < 1.4
    both = [[hit for _, hit in search(Sound("x", iter([sound])), one, words.words, HOP)]
            for one in (embedder, replace(embedder, shared=None))]
    assert len(both[0]) > 6
    for hit, alone in zip(*both, strict=True):
        assert (hit.word, hit.start, hit.end) == (alone.word, alone.start, alone.end)
        assert hit.score == pytest.approx(alone.score, abs=1e-5)
    bed = [hit for hit in both[0] if hit.word == "bed" and hit.above >= 0]
    for at in np.arange(0.3, 20, 3 * 1.9):  # bed is the first of three sounds, 0.6 s long
        assert any(abs((hit.start + hit.end) / 2 - at - 0.3) < 0.25 for hit in bed), at


def test_find_and_streams_give_the_same(run, enrolled, sound, tmp_path):
    soundfile.write(tmp_path / "sound.wav", sound, RATE)
    done = run("spotting.find", enrolled, tmp_path / "sound.wav", "--json", "--all_words")
    assert done.code == 0, done.error
    expected = [json.loads(line) for line in done.out.splitlines()]
    spotter, found = load_words(enrolled, all_words=True), []
    for part in np.array_split(sound, 77):
        found += spotter.feed(part)
    found += spotter.finish()
    assert len(expected) > 4
    for hit, same in zip(sorted(found, key=lambda hit: (hit.start, hit.word)),
                         sorted(expected, key=lambda same: (same["start"], same["word"])), strict=True):
        assert (hit.word, hit.start) == (same["word"], pytest.approx(same["start"], abs=1e-3))
        assert hit.score == pytest.approx(same["score"], abs=1e-4)
