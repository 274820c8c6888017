"""A small trained encoder, words enrolled with it, and recordings to find them in."""

from types import SimpleNamespace

import numpy as np
import pytest

from spotting.sound import conditions
from tests.conftest import record

RATE = 16_000


def spoken(word, rng, seconds=0.6):
    """One of six sounds whose texture, not their place or pitch, tells them apart; float, (RATE * seconds,)."""
    t = np.arange(round(RATE * seconds)) / RATE
    share, pitch = t / seconds, rng.uniform(0.95, 1.05)
    glide = 2 * np.pi * pitch * np.cumsum(300 * 12 ** (share if word in (0, 4) else 1 - share)) / RATE
    sound = {0: lambda: np.sin(glide), 1: lambda: np.sin(glide),
             2: lambda: np.sin(2 * np.pi * 150 * pitch * t) ** 31,
             3: lambda: rng.standard_normal(len(t)) * (np.sin(2 * np.pi * 9 * pitch * t) > 0),
             4: lambda: np.sin(glide) + np.sin(2.1 * glide[::-1]),
             5: lambda: sum(np.sin(2 * np.pi * 420 * pitch * k * t) for k in range(1, 9)) / 3}[word]()
    return 0.2 * sound * np.minimum(1, 20 * np.minimum(share, 1 - share))


def scene(rng, said, seconds=6.0):
    """Faint noise of so many seconds, with words in it: ``said`` are (word's number, second it begins)."""
    sound = 0.003 * rng.standard_normal(round(RATE * seconds))
    for word, at in said:
        start, clip = round(RATE * at), spoken(word, rng)
        sound[start:start + len(clip)] += clip
    return sound


def untrained(folder, name, compression="log", context=0.0):
    """The folder of a run: a Res8 with random weights, but batch norms that know such sounds, which is enough to tell
    these words apart. Its clips have ``context`` seconds on both sides of a second."""
    import torch

    from models.encoders.build import make_encoder
    from models.encoders.frontend import LogMel, settings
    from models.runs.checkpoints import Run

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    encoder = make_encoder("Res8", 45, compression=compression)
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    sounds = [scene(rng, [(i % 6, 2 * context + 0.4 * rng.random())] if i % 4 else [], 1.4 + context)
              [:round(RATE * (1 + 2 * context))] for i in range(48)]
    with torch.no_grad():
        encoder(LogMel(compression).eval()(torch.from_numpy(np.stack(sounds)).float()))
    run = Run(folder / "runs", name)
    run.save({"Res8": encoder}, {}, 1, 1)
    run.write_config({"model": "Res8", "hidden_size": 45, "clip_seconds": 1 + 2 * context}
                     | ({"frontend": settings(compression)} if context else {}))
    return run.folder


@pytest.fixture(scope="session", autouse=True)
def dry():
    """Enrolled clips are heard in halls that do not reverberate: random weights do not know a word there again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conditions, "HALLS", (0.05, 0.06))
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("spotting"), "tiny")


@pytest.fixture(scope="session")
def exported(tiny, spotter):
    """The run "tiny" as ONNX."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from spotting import export

    path = spotter.folder / "tiny.onnx"
    assert export.main(export.parse_args([*spotter.flags, "--out", str(path), "--check", str(spotter.said)])) == 0
    return path


@pytest.fixture(scope="session")
def spotter(tiny, tmp_path_factory):
    """Folders ``clips`` (bed, cat: six each), ``said`` (four each), ``background`` (no words); ``flags``
    name the encoder, ``run`` is its folder."""
    folder, rng = tmp_path_factory.mktemp("spotter"), np.random.default_rng(3)
    for kind, count in (("clips", 6), ("said", 4)):
        for word, name in enumerate(("bed", "cat")):
            for i in range(count):
                record(folder / kind / name / f"{i}.wav", scene(rng, [(word, 0.7 + 0.13 * i)], 2.5), RATE)
    for i in range(2):
        record(folder / "background" / f"{i}.flac", scene(rng, [(2, 1.0), (5, 4.0), (3, 7.0)], 10.0), RATE)
    return SimpleNamespace(folder=folder, run=tiny, clips=folder / "clips", said=folder / "said",
                           background=folder / "background",
                           flags=["--name=tiny", f"--runs_dir={tiny.parent}"])


@pytest.fixture(scope="session")
def words_file(spotter):
    """The words bed and cat, enrolled and with thresholds from the background."""
    from spotting import enroll

    path = spotter.folder / "words.json"
    assert enroll.main(enroll.parse_args(["--clips", str(spotter.clips), "--out", str(path), "--background",
                                          str(spotter.background), *spotter.flags])) == 0
    return path
