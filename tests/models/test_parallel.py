"""Several processes under torchrun train as one does, and only one of them writes and speaks."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from data.audio.dataset import Clips
from data.base.files import ROOT
from data.manifests.corpus import load_corpus
from models import parallel
from models.encoders.build import embed_clips, make_encoder
from models.encoders.frontend import LogMel
from models.neighbours import classify
from models.runs.checkpoints import TRAINER, Run, load_module, load_state
from tests.conftest import refused
from tests.shared_training import STEPS, recorded


def torchrun(*command, processes: int = 2) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone",
                           f"--nproc_per_node={processes}", *map(str, command)],
                          cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)


@pytest.mark.parametrize("kind", ["triplet", "classifier"])
def test_two_processes_get_the_losses_and_gradients_of_one(words, tmp_path, kind):
    alone = recorded(kind, words.registry, tmp_path / "one")
    ran = torchrun("-m", "tests.shared_training", kind, words.registry, tmp_path / "two", tmp_path / "two.npz")
    assert ran.returncode == 0, ran.stderr
    with np.load(tmp_path / "two.npz") as together:
        assert len(alone["loss"]) == STEPS and np.ptp(alone["loss"]) > 0.1  # it trained
        np.testing.assert_allclose(together["loss"], alone["loss"], atol=1e-4)
        apart = np.abs(together["gradient"] - alone["gradient"]).max(1)
        assert apart.max() < 1e-4 and apart[0] < 1e-5 * np.abs(alone["gradient"][0]).max()
        np.testing.assert_allclose(together["weights"], alone["weights"], atol=1e-4)
        assert together["accuracy"] == alone["accuracy"]


def test_torchrun_trains_saves_and_speaks_once(words, tmp_path):
    flags = [*words.flags, f"--runs_dir={tmp_path}", "--name=two", "--model=Res8", "--hidden_size=12", "--recipe=fast",
             "--per_class=4", "--step_freq=15", "--eval_freq=15"]
    ran = torchrun("TripletEncoder.py", *flags, "--num_steps=30", "--num_nodes=1", "--save_emb", "--cl", "--k=3")
    assert ran.returncode == 0, ran.stderr
    assert [line.split("/")[0] for line in ran.stdout.splitlines() if line.startswith("step ")] == \
        ["step 15", "step 30"]
    # The first process alone has heads trained, each in one process.
    assert re.findall(r"^head of step (\d+): dev ", ran.stdout, re.M) == ["15", "30"]
    assert ran.stdout.count("test it with") == 1
    assert all(Run(tmp_path, f"two_classifier{step}").config()["processes"] == 1 for step in (15, 30))
    assert ran.stderr.count("running on the CPU") == 1
    run = Run(tmp_path, "two")
    assert run.steps("Res8") == run.steps(TRAINER) == [15, 30]
    # On a CPU each process has batch-norm statistics of its own; a look is at those that the checkpoint has.
    looks = [line for line in ran.stdout.splitlines() if line.startswith("step ")]
    assert [re.search(r"dev (\d+\.\d+) %", line)[1] for line in looks] == [
        f"{100 * look(words, run, step):.2f}" for step in (15, 30)]
    first, last = (load_state(run.path("Res8", step)) for step in (15, 30))
    assert all(not torch.equal(first[name], last[name]) for name in first)
    assert 100 * look(words, run, 30) >= 50 > 100 / 6
    assert len(list((run.folder / "tensorboard").glob("events*"))) == 1
    assert [np.loadtxt(path).shape for path in (run.folder / "tensorboard").glob("*-vectors.tsv")] == [(30, 12)] * 2


def look(words, run, step):
    """The accuracy on dev of a checkpoint, as a look at it has it."""
    corpus, encoder = load_corpus("words", ("train", "dev"), words.registry), make_encoder("Res8", 12)
    load_module(run.path("Res8", step), encoder, "Res8")
    train, dev = (Clips.of(corpus.splits[split], split, 1.0, run.folder / "cache") for split in ("train", "dev"))
    voted = classify(embed_clips(encoder, LogMel(), train), train.manifest.label, embed_clips(encoder, LogMel(), dev),
                     3)
    return np.mean(voted.labels == dev.manifest.label)


@pytest.mark.parametrize(("script", "here", "flags", "parts"), [
    ("TripletEncoder", 2, [], ["torchrun --nnodes", "one machine"]),
    ("infer_train", 4, [], ["infer_train.py runs in one process"])])
def test_what_torchrun_cannot_start(words, tmp_path, run, monkeypatch, script, here, flags, parts):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": here, "RANK": 0}.items():
        monkeypatch.setenv(name, str(value))
    refused(run(script, "--name=bad", "--model=Res8", *words.flags, f"--runs_dir={tmp_path}", *flags), *parts)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [1, 3, 16])
@pytest.mark.parametrize("processes", [1, 3])
def test_shares_are_in_order_and_even(monkeypatch, count, processes):
    monkeypatch.setattr(parallel, "size", lambda: processes)
    parts = []
    for rank in range(processes):
        monkeypatch.setattr(parallel, "rank", lambda rank=rank: rank)
        parts.append(parallel.share(np.arange(count)))
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
