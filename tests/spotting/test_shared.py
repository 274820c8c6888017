"""Words found by an encoder whose windows share their work: the same hits in files and streams."""

import json

import numpy as np
import pytest
import soundfile
import torch

from models.context import SHARED
from models.encoders.build import make_encoder
from models.encoders.frontend import LogMel, settings
from models.runs.checkpoints import Run
from spotting import enroll, load_words
from tests.spotting.conftest import RATE, scene


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


def test_find_and_streams_give_the_same(run, enrolled, tmp_path):
    """Window by window: tests/models/encoders/test_context.py."""
    made = scene(np.random.default_rng(5), [(i % 3, at) for i, at in enumerate(np.arange(0.3, 20, 1.9))], 20.0)
    sound = (32768 * made).astype(np.int16)
    soundfile.write(tmp_path / "sound.wav", sound, RATE)
    done = run("spotting.find", enrolled, tmp_path / "sound.wav", "--json", "--all_words")
    assert done.code == 0, done.error
    expected = [json.loads(line) for line in done.out.splitlines()]
    spotter, found = load_words(enrolled, all_words=True), []
    for part in np.array_split(sound, 77):
        found += spotter.feed(part)
    found += spotter.finish()
    for at in np.arange(0.3, 20, 3 * 1.9):  # bed is the first of three sounds, 0.6 s long
        assert any(same["word"] == "bed" and abs((same["start"] + same["end"]) / 2 - at - 0.3) < 0.25
                   for same in expected), at
    for hit, same in zip(sorted(found, key=lambda hit: (hit.start, hit.word)),
                         sorted(expected, key=lambda same: (same["start"], same["word"])), strict=True):
        assert (hit.word, hit.start) == (same["word"], pytest.approx(same["start"], abs=1e-3))
        assert hit.score == pytest.approx(same["score"], abs=1e-4)
