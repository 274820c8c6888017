"""What several test files need: the original's figures, a small data set, and the scripts as functions."""

import contextlib
import importlib
import io
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from data.base.errors import UserError
from data.manifests.manifest import Manifest, Utterance, write_manifest
from data.manifests.registry import register

# Tests run side by side (-n auto), where further threads of a process would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and so would the processes that tests hang up
HERE = Path(__file__).parent
RNG = np.random.default_rng(5)
TRAIN = ["--model=Res8", "--hidden_size=12", "--recipe=fast", "--per_class=4", "--step_freq=10", "--eval_freq=10"]


def pytest_addoption(parser):
    parser.addoption("--reference", type=Path, help="folder with the published encoders (runs res15_35 and res15_12), "
                                                    "to test that they load and embed as they did")


@pytest.fixture(scope="session")
def golden():
    """Figures measured on the original, by name."""
    with np.load(HERE / "golden.npz") as figures:
        return dict(figures)


@pytest.fixture(scope="session")
def noise(golden):
    """The waveforms (4, 16000) that the original's spectrograms and embeddings of noise are of."""
    import torch

    waveforms = (np.random.RandomState(0).randn(4, 16000) * 0.1).astype(np.float32)
    return torch.from_numpy(waveforms * (np.arange(16000) < golden["noise_len"][:, None]))


@pytest.fixture(scope="session")
def params():
    """The original's parameters: names and shapes by module."""
    return json.loads((HERE / "params.json").read_text())


def hiss(seconds, rate=16_000, level=0.2):
    """White noise, (seconds * rate,), within full scale."""
    return np.clip(level * RNG.standard_normal(round(seconds * rate)), -1, 1)


def record(path, samples=None, rate=16_000, **how):
    """Write a recording, a tenth of a second of noise by default, with its folders; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, hiss(0.1) if samples is None else samples, rate, **how)
    return path


def spoken(word: int, rng: np.random.Generator, seconds: float = 1.0) -> np.ndarray:
    """A "word": two gliding tones that only it has, at a "speaker's" pitch, in a little noise. Float, 16 kHz."""
    t = np.arange(round(16_000 * seconds)) / 16_000
    pitch = rng.uniform(0.9, 1.1)
    first, second = 300 * pitch * 1.45 ** word, 500 * pitch * 1.3 ** (5 - word)
    sound = np.sin(2 * np.pi * (first + 200 * t) * t) + np.sin(2 * np.pi * (second - 100 * t) * t)
    envelope = np.exp(-(((t - 0.5 - rng.uniform(-0.1, 0.1)) / 0.2) ** 2))
    return 0.2 * envelope * sound + 0.01 * rng.standard_normal(len(t))


def write_set(folder, name, registry=None, **splits):
    """Write manifests of utterances by split, and register them, in ``folder`` by default. Returns the registry."""
    registry = registry or folder / "manifests.json"
    for split, utterances in splits.items():
        write_manifest(folder / f"{split}.json", utterances)
    register(name, **{split: folder / f"{split}.json" for split in ("train", "dev", "test")}, registry=registry)
    return registry


def manifest_of(label, names=None, offset=0.0, speaker=None, file=None) -> Manifest:
    """Of N clips of classes (N,), a second each, by default each of a recording of its own; none of these is there."""
    n = len(label)
    names = names or [f"word{c}" for c in range(max(label, default=0) + 1)]
    return Manifest(Path("test.json"), names, [f"/clips/{i}.wav" for i in range(n)],
                    np.asarray(range(n) if file is None else file, np.int32), np.arange(n) * offset, np.ones(n),
                    np.asarray(label, np.int32), np.full(n, speaker, object))


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random float32 vectors of length 1 in the last axis."""
    x = rng.standard_normal(shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture(scope="session")
def words(tmp_path_factory):
    """A registered data set "words" of six classes with 12 / 5 / 5 clips each, and a folder of noise.

    Attributes: registry, folder, labels, and flags, the arguments that make a script use it and nothing else.
    """
    folder = tmp_path_factory.mktemp("words")
    rng = np.random.default_rng(0)
    labels = ["bed", "cat", "dog", "five", "four", "tree"]
    for split, clips in (("train", 12), ("dev", 5), ("test", 5)):
        utterances = []
        for word, label in enumerate(labels):
            for i in range(clips):
                path = record(folder / label / f"{split}{i}_nohash_0.wav", spoken(word, rng))
                utterances.append(Utterance(str(path), label, 1.0, speaker=f"{split}{i}"))
        write_manifest(folder / f"{split}.json", utterances)
    record(folder / "noise" / "hiss.wav", 0.1 * rng.standard_normal(40_000))
    registry = folder / "manifests.json"
    register("words", **{split: folder / f"{split}.json" for split in ("train", "dev", "test")},
             noise=folder / "noise", registry=registry)
    return SimpleNamespace(folder=folder, registry=registry, labels=labels,
                           flags=["--manifest=words", f"--registry={registry}", f"--cache_dir={folder / 'cache'}"])


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """The folder of all runs of the scripts' tests; each names its own."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def encoder(words, runs):
    """A run "enc" of 40 steps, and what the script printed."""
    import TripletEncoder

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert TripletEncoder.main(TripletEncoder.parse_args(
            ["--name=enc", f"--runs_dir={runs}", *words.flags, *TRAIN, "--num_steps=40"])) == 0
    return printed.getvalue()


@pytest.fixture
def run(capsys):
    """Run a script's `main` in this process: ``run("infer_train", "--name=a", ...)`` gives code, out and error."""
    def call(script: str, *flags: str) -> SimpleNamespace:
        module, error = importlib.import_module(script), ""
        capsys.readouterr()
        try:
            code = module.main(module.parse_args([str(flag) for flag in flags]))
        except UserError as problem:
            code, error = 2, str(problem)
        except SystemExit as stop:  # argparse
            code = stop.code
        printed = capsys.readouterr()
        return SimpleNamespace(code=code, out=printed.out, error=error or printed.err)
    return call


def infer(run, words, runs, *flags, name="enc", model="Res8"):
    """Test an encoder of ``runs``, by default the fixture's."""
    return run("infer_train", f"--name={name}", f"--runs_dir={runs}", *words.flags, f"--model={model}", *flags)


def refused(done, *parts):
    """The script ended with code 2 and one line that has all ``parts``."""
    assert done.code == 2
    assert all(part in done.error for part in parts), done.error
    assert "\n" not in done.error.strip()


@pytest.fixture
def drawn(monkeypatch) -> list:
    """The figures that were saved."""
    from matplotlib.figure import Figure

    saved, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (saved.append(self), save(self, *a, **k))[1])
    return saved
