"""Encoders by name and size, from training through a run's files to testing."""

import re

import torch

from models.encoders.load import load_encoder
from models.runs.checkpoints import Run, load_state


def test_sizes_are_recorded_saved_loaded_and_tested(runs, words, run, tmp_path, monkeypatch):
    folder = Run(runs, "sizes")
    common = [f"--name={folder.name}", f"--runs_dir={runs}", *words.flags, "--model=Res8"]
    assert run("TripletEncoder", *common, "--hidden_size=6", "--embedding_size=7", "--num_steps=2", "--per_class=2",
               "--eval_clips=6").code == 0
    config = folder.config()
    for recorded in (config, config["arguments"]):
        assert (recorded["hidden_size"], recorded["embedding_size"]) == (6, 7)
    head = run("TripletClassifier", *common, f"--name={folder.name}-head", f"--enc_name={folder.name}", "--num_steps=2",
               "--eval_clips=6")
    assert head.code == 0
    assert load_state(Run(runs, f"{folder.name}-head").path("ClassificationNet", 2))["fc1.weight"].shape == (6, 7)
    tested = [run("infer_train", *common, "--k=1"), run("infer_notl", *common, f"--cl_name={folder.name}-head")]
    monkeypatch.chdir(tmp_path)  # where what is made with a run without a configuration goes
    (folder.folder / "config.json").rename(folder.folder / "config.away")  # as of a run that has none
    try:
        tested.append(run("infer_train", *common, "--k=1"))
        encoder = load_encoder(folder.path("Res8", 2))
        contradicted = run("infer_train", *common, "--embedding_size=8")
    finally:
        (folder.folder / "config.away").rename(folder.folder / "config.json")
    assert [done.code for done in tested] == [0, 0, 0]
    scores = [re.findall("^Accuracy.*", done.out, re.M) for done in tested]
    assert scores[0] and scores[0] == scores[2]
    assert encoder(torch.zeros(1, 16_000)).shape == (1, 7)
    assert contradicted.code == 2 and "--embedding_size 8" in contradicted.error


def test_sizes_that_contradict_one_another(words, tmp_path, run):
    refused = run("TripletEncoder", "--name=bad", f"--runs_dir={tmp_path}", *words.flags, "--model=Quartz",
                  "--hidden_size=6", "--embedding_size=7")
    assert refused.code == 2 and "--hidden_size 6 contradicts --embedding_size: " in refused.error
    assert not list(tmp_path.iterdir())
