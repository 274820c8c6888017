"""The four scripts from end to end on a small data set: they learn, save, resume and test; also without NeMo."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import torch
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from data.base.files import ROOT
from models.encoders.load import load_encoder
from models.runs import session
from models.runs.checkpoints import HEAD, TRAINER, Run, load_state
from tests.conftest import TRAIN, infer, refused
from tests.pages import Read

# As where they are not installed: an import of a module that is None in here fails, and of its parts, too.
BLOCKED = """import sys
for name in {blocked}: sys.modules[name] = None
import {script}
code = {script}.main({script}.parse_args(sys.argv[1:]))
assert not any(name.split('.')[0] in {blocked} and module for name, module in sys.modules.items())
sys.exit(code)"""
BOTH = ("nemo", "lightning", "lightning_utilities", "pytorch_lightning")


def accuracy(text: str) -> float:
    return float(re.search(r"^Accuracy: (\d+\.\d\d)$", text, re.M)[1])


def test_training_moves_the_weights_and_raises_the_accuracy(encoder, runs):
    run = Run(runs, "enc")
    assert run.steps("Res8") == run.steps(TRAINER) == [10, 20, 30, 40]
    dev = [float(value) for value in re.findall(r"dev (\d+\.\d+) %", encoder)]
    assert len(dev) == 4
    assert dev[-1] >= 80 > 100 / 6  # six classes
    loss = [float(value) for value in re.findall(r"loss (\d+\.\d+)", encoder)]
    assert loss[-1] < 0.7 * loss[0]
    first, last = (load_state(run.path("Res8", step)) for step in (10, 40))
    assert all(not torch.equal(first[name], last[name]) for name in first)


def test_the_printed_line_tests_the_encoder(encoder, runs, run):
    line = encoder.strip().splitlines()[-1].split("python ")[1].split()
    assert line[0] == "infer_train.py"
    tested = run("infer_train", *line[1:], "--save")
    assert tested.code == 0
    assert accuracy(tested.out) >= 80
    assert re.search(r"^f1_macro 0\.\d{4}$|^f1_macro 1\.0000$", tested.out, re.M)
    made = {path.name for path in (runs / "enc").iterdir()}
    stem = "knn-words-Res8-40"
    assert {f"{stem}.json", f"{stem}.csv", f"{stem}-confusion.png", f"{stem}-test_embeddings.npy"} <= made
    embeddings = np.load(runs / "enc" / f"{stem}-test_embeddings.npy")
    assert embeddings.shape == (30, 12)
    figures = json.loads((runs / "enc" / f"{stem}.json").read_text())
    assert 100 * figures["accuracy"] == pytest.approx(accuracy(tested.out), abs=0.005)
    assert (runs / "enc" / f"{stem}.csv").read_text().count("\n") == 31


def test_several_k_are_one_test_and_each_alone_gives_its_figure(encoder, runs, words, run):
    stem, found = runs / "enc" / "knn-words-Res8-40", {}
    for k in (1, 7):
        found[k] = accuracy(infer(run, words, runs, f"--k={k}").out)
    done = infer(run, words, runs, "--k", "7", "1", "72")
    assert accuracy(done.out) == found[7]
    stored = json.loads(stem.with_suffix(".json").read_text())
    assert [row["k"] for row in stored["by_k"]] == [7, 1, 72]
    assert {row["k"]: 100 * row["accuracy"] for row in stored["by_k"]} == pytest.approx(found | {
        72: 100 * stored["by_k"][2]["accuracy"]}, abs=0.005)
    assert "fewer than k = 72 training clips vote for 6 of the 6 classes: bed (12)" in done.out
    # All training clips vote, twelve of each class: the nearest decides, or the first label.
    assert stored["by_k"][2]["accuracy"] == stored["by_k"][1]["accuracy"]
    assert accuracy(infer(run, words, runs, "--k=72", "--ties=lowest").out) == pytest.approx(100 / 6, abs=0.005)


def test_a_head_on_the_frozen_encoder(encoder, runs, words, run):
    flags = [f"--runs_dir={runs}", *words.flags, "--model=Res8"]
    trained = run("TripletClassifier", "--name=head", "--enc_name=enc", "--enc_step=40", *flags, "--num_steps=150",
                  "--lr=0.05", "--optimizer=adamw")
    assert trained.code == 0
    assert Run(runs, "head").steps("ClassificationNet") == [100, 150]
    assert Run(runs, "head").steps("Res8") == []
    line = trained.out.strip().splitlines()[-1].split("python ")[1].split()
    tested = run("infer_notl", *line[1:], "--save", "--ties=lowest")
    assert accuracy(tested.out) >= 80
    refused(run("infer_notl", *line[1:], "--add_prior"), "--add_prior", "'head'", "clips at random")
    wrong = run("infer_notl", "--name=enc", "--cl_name=head", "--enc_step=10", *flags)
    assert wrong.code == 2
    assert "--enc_step 10" in wrong.error and "40" in wrong.error


def test_a_head_is_neither_trained_further_nor_tested_on_an_encoder_that_took_its_ones_name(encoder, runs, words, run,
                                                                                             tmp_path):
    ours = Run(tmp_path, "enc")
    shutil.copytree(Run(runs, "enc").folder, ours.folder)
    flags = [f"--runs_dir={tmp_path}", *words.flags, "--model=Res8"]
    train = ["--name=head", "--enc_name=enc", "--enc_step=40", *flags, "--step_freq=1"]
    test = ["--name=enc", "--cl_name=head", *flags]
    assert run("TripletClassifier", *train, "--num_steps=1").code == 0
    assert run("infer_notl", *test).code == 0
    whole = ours.path("Res8", 40).read_bytes()
    ours.path("Res8", 40).write_bytes(ours.path("Res8", 10).read_bytes())  # as one trained anew by that name
    refused(run("infer_notl", *test), str(ours.path("Res8", 40)), "another encoder", "'head'", "--runs_dir")
    refused(run("TripletClassifier", *train, "--num_steps=2", "--resume"), "--resume", "frozen encoder", "restore")
    ours.path("Res8", 40).write_bytes(whole)
    assert run("TripletClassifier", *train, "--num_steps=2", "--resume").code == 0
    assert run("infer_notl", *test).code == 0


def test_a_head_is_tested_on_clips_as_long_as_it_was_trained_on(encoder, runs, words, run):
    """An encoder without configuration, as the published ones, does not say how long they are."""
    published, flags = Run(runs, "published"), [f"--runs_dir={runs}", *words.flags, "--model=Res8"]
    published.checkpoints.mkdir(parents=True)
    published.path("Res8", 40).write_bytes(Run(runs, "enc").path("Res8", 40).read_bytes())
    assert run("TripletClassifier", "--name=short", "--enc_name=published", *flags, "--clip_seconds=0.4",
               "--num_steps=1").code == 0
    line = ["--name=published", "--cl_name=short", *flags, "--save"]
    refused(run("infer_notl", *line, "--clip_seconds=1.0"), "--clip_seconds 1.0", "'short'", "0.4")
    found = []
    for given in ([], ["--clip_seconds=0.4"]):
        assert run("infer_notl", *line, *given).code == 0
        facts = json.loads((runs / "short" / "head-words-Res8-40-1.json").read_text())["facts"]
        assert facts["clip_seconds"] == 0.4
        found.append(np.load(runs / "short" / "head-words-Res8-40-1-test_embeddings.npy"))
    np.testing.assert_array_equal(*found)


def test_the_pages_figures_are_the_printed_ones(encoder, runs, words, run, tmp_path):
    flags = [f"--runs_dir={runs}", *words.flags, "--model=Res8"]
    assert run("TripletClassifier", "--name=paged", "--enc_name=enc", "--enc_step=40", *flags,
               "--num_steps=2").code == 0
    knn = infer(run, words, runs, "--enc_step=10", "--k", "5", "1", "--plot", "--html", tmp_path / "knn.html")
    head = run("infer_notl", "--name=enc", "--cl_name=paged", *flags, "--html", tmp_path / "head.html")
    shots = infer(run, words, runs, *ENROL, "--unknown", "--plot", "--html", tmp_path / "shots.html")
    for name, done in (("knn", knn), ("head", head), ("shots", shots)):
        assert done.code == 0
        script = "infer_notl.py" if name == "head" else "infer_train.py"
        html = (tmp_path / f"{name}.html").read_text()
        page = Read(html)
        assert f"wrote {tmp_path / name}.html, {len(html.encode()) / 1e6:.2f} MB: all " in done.out
        origin = dict(page.tables[-1])
        assert origin["command"].startswith(f"python {script} --name=enc ") and "--html" in origin["command"]
        steps = {"knn": "Res8-STEP-10", "head": "Res8-STEP-40", "shots": "Res8-STEP-40"}
        assert f"run enc, {steps[name]}: " in origin["encoder"] and origin["manifest"] == "words"
        assert "30 of " in origin["test clips"] and "72 of " in origin["train clips"]
        if name != "shots":
            assert f"{accuracy(done.out):.2f}accuracy, %" in page.text
            wrong = 30 - int(re.search(r"(\d+) of 30 clips right", done.out)[1])
            assert len(page.data["mistakes"]) == wrong > 0
    assert Read((tmp_path / "knn.html").read_text()).tables[0][1:] == [
        [cell.strip() for cell in line.strip("|").split("|")] for line in knn.out.splitlines()
        if re.match(r"\| +\d", line)]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in shots.out.splitlines()
             if line.startswith("|") and "---" not in line]
    assert Read((tmp_path / "shots.html").read_text()).tables[0] == lines and len(lines) > 2
    assert [(tmp_path / f"{name}.html").read_text().count("<img") for name in ("knn", "head", "shots")] == [2, 1, 3]


def test_the_baseline_without_triplets(runs, words, run, encoder):
    flags = [f"--runs_dir={runs}", *words.flags, "--model=Res8"]
    trained = run("TripletClassifier", "--name=base", *flags, "--hidden_size=12", "--recipe=fast", "--num_steps=150",
                  "--step_freq=1000", "--batch_classes=6", "--per_class=4")
    assert trained.code == 0
    assert Run(runs, "base").steps("Res8") == Run(runs, "base").steps("ClassificationNet") == [150]
    tested = run("infer_notl", "--name=base", "--cl_name=base", "--enc_step=150", "--cl_step=150", *flags)
    assert accuracy(tested.out) >= 60
    assert run("infer_notl", "--name=base", "--cl_name=base", *flags, "--add_prior").code == 0
    # Words have equally many clips here: what was most probable is so still, and as probable.
    plain, with_prior = ([line.rsplit(",", 1) for line in path.read_text().splitlines()[1:]] for path in (
        runs / "base" / f"head-words-Res8-150-150{end}.csv" for end in ("", "-prior")))
    assert [line[0] for line in with_prior] == [line[0] for line in plain]
    np.testing.assert_allclose(*(np.array([float(line[1]) for line in lines]) for lines in (with_prior, plain)),
                               atol=1e-5)  # the prior cancels but for rounding
    # The same flags as for a head on test_encoder test the encoder that the head was trained with.
    other = run("infer_notl", "--name=enc", "--cl_name=base", "--enc_step=10", "--cl_step=150", *flags)
    assert "trained together with an encoder of its own" in other.out
    assert accuracy(other.out) == accuracy(tested.out)


def test_quartz_is_a_step_of_two_files(runs, words, run, tmp_path, monkeypatch):
    """Everything that a run's checkpoint is for, with an encoder in two parts."""
    quartz, flags = Run(runs, "quartz"), [f"--runs_dir={runs}", *words.flags, "--model=Quartz"]
    small = ["--num_steps=3", "--step_freq=1", "--eval_clips=6", "--clip_seconds=0.2", "--per_class=2"]
    with monkeypatch.context() as patched:  # from then on the run alone knows its filters
        patched.setitem(session.FILTERS, "words", 8)
        assert run("TripletEncoder", "--name=quartz", *flags, *small, "--checkpoints_to_keep=2").code == 0
    assert {path.name for path in quartz.checkpoints.iterdir()} == {
        f"{part}-STEP-{step}.pt" for part in ("JasperEncoder", "LinearLayer", TRAINER) for step in (2, 3)}
    config = quartz.config()
    assert (config["filters"], config["hidden_size"], config["embedding_size"]) == (8, 128, 128)
    encoder, linear = quartz.paths("Quartz", 3)
    whole, embedding = linear.read_bytes(), load_encoder(encoder)(torch.ones(1, 3200))
    assert embedding.shape == (1, 128)

    linear.unlink()  # as a kill between the two leaves it
    assert quartz.steps("Quartz") == [2]
    cut_short = infer(run, words, runs, "--enc_step=3", name="quartz", model="Quartz")
    refused(cut_short, "no such step of Quartz", ": 2")
    encoder.unlink()
    assert run("TripletEncoder", "--name=quartz", *flags, "--resume").code == 0
    assert linear.read_bytes() == whole and torch.equal(load_encoder(linear)(torch.ones(1, 3200)), embedding)
    tested = infer(run, words, runs, "--enc_step=3", name="quartz", model="Quartz")
    assert tested.code == 0 and accuracy(tested.out) > 0

    assert run("TripletClassifier", "--name=quartz-head", "--enc_name=quartz", *flags, "--num_steps=1").code == 0
    notl = ["--name=quartz", "--cl_name=quartz-head", *flags]
    assert run("infer_notl", *notl).code == 0
    linear.write_bytes(quartz.paths("Quartz", 2)[1].read_bytes())
    refused(run("infer_notl", *notl), "another encoder")
    linear.write_bytes(whole)
    assert run("TripletClassifier", "--name=quartz-tuned", "--init_from=quartz:2", *flags, "--num_steps=1").code == 0
    assert Run(runs, "quartz-tuned").steps("Quartz") == [1]

    (quartz.folder / "config.json").unlink()
    monkeypatch.chdir(tmp_path)  # where what is made with a run without a configuration goes
    by_weights = infer(run, words, runs, "--enc_step=3", "--clip_seconds=0.2", name="quartz", model="Quartz")
    assert accuracy(by_weights.out) == accuracy(tested.out)


def test_a_published_encoder_is_read_and_never_written_to(encoder, runs, words, run, tmp_path, monkeypatch):
    """A run without config.json: its width comes from its weights, and what is made with it goes to runs/NAME."""
    published = Run(tmp_path / "published", "enc")
    published.checkpoints.mkdir(parents=True)
    published.path("Res8", 40).write_bytes(Run(runs, "enc").path("Res8", 40).read_bytes())
    before = sorted(published.folder.rglob("*"))
    monkeypatch.chdir(tmp_path)
    flags = ["--name=enc", f"--runs_dir={tmp_path / 'published'}", *words.flags, "--model=Res8", "--enc_step=40"]
    tested = run("infer_train", *flags)
    assert accuracy(tested.out) >= 80
    assert (tmp_path / "runs" / "enc" / "knn-words-Res8-40.json").exists()
    trained = run("TripletClassifier", *flags, "--num_steps=2")
    assert trained.code == 0
    line = trained.out.strip().splitlines()[-1].split("python ")[1].split()
    assert run("infer_notl", *line[1:]).code == 0
    assert sorted(published.folder.rglob("*")) == before


ENROL = ["--shots", "5", "1", "--repeats=3", "--enroll", "cat", "bed", "four"]


def test_words_are_enrolled_and_others_rejected(encoder, runs, words, run):
    flags = ["--name=enc", f"--runs_dir={runs}", *words.flags, "--model=Res8", *ENROL]
    done = run("infer_train", *flags, "--unknown", "--save")
    assert done.code == 0
    assert "3 words enrolled, 15 test clips of them, 15 of 3 unknown words" in done.out
    stem = runs / "enc" / "shots-unknown-words-Res8-40"
    stored = json.loads(stem.with_suffix(".json").read_text())
    assert stored["facts"]["enrolled"] == ["bed", "cat", "four"]
    assert stored["facts"]["unknown"] == ["dog", "five", "tree"]
    assert [(r["method"], r["shots"]) for r in stored["results"]] == [("embedding", 1), ("embedding", 5)]
    assert len(stored["repeats"]) == 6
    assert "the encoder was trained on 3 of the 3 enrolled words (bed, cat, four) and 3 of" in done.out
    dev = stored["facts"]["chosen_on_dev"]
    assert (dev["clips"], dev["unknown_clips"]) == (30, 15)  # those of dev have no part in the table
    assert [one["shots"] for one in dev["chosen"]] == [1, 5] and "chosen on dev (30 clips, " in done.out
    assert all(one["equal_error_rate"] == min(r["equal_error_rate"] for r in dev["results"]
                                              if r["shots"] == one["shots"]) for one in dev["chosen"])
    assert stored["results"][1]["accuracy_mean"] >= 0.8 > 1 / 3
    assert stored["results"][1]["auroc_mean"] > 0.7
    assert stem.with_suffix(".csv").exists() and stem.with_name(f"{stem.name}-det.png").exists()
    labels, drawn, tested = (np.load(f"{stem}-{name}.npy") for name in ("train_labels", "drawn", "test_labels"))
    assert drawn.shape == (3, 3, 5)
    np.testing.assert_array_equal(labels[drawn], np.broadcast_to(np.array([0, 1, 4])[:, None], drawn.shape))
    assert set(labels) == {0, 1, 4} and len(tested) == 30  # no clip of an unknown word was enrolled
    predictions = np.load(f"{stem}-predictions.npy")
    assert predictions.shape == (2, 3, 30) and set(predictions.ravel()) <= {0, 1, 4}
    accuracy_of_repeats = (predictions == tested)[:, :, np.isin(tested, [0, 1, 4])].mean(2)
    assert accuracy_of_repeats.ravel().tolist() == pytest.approx(
        [r["accuracy"] for r in stored["repeats"] if r["method"] == "embedding"])


def test_scores_are_also_held_against_a_cohort_of_other_words(encoder, runs, words, run):
    few = ["--shots", "2", "--repeats=3", "--enroll", "cat", "--unknown", "dog"]
    own = infer(run, words, runs, *few)  # four words are left of what the encoder was trained on
    assert "cohort: 48 clips of 4 other words of --manifest words; " in own.out
    stored = json.loads((runs / "enc" / "shots-unknown-words-Res8-40.json").read_text())
    assert stored["facts"]["cohort"]["clips"] == 48
    assert [r["method"] for r in stored["results"]] == ["embedding", "embedding, t-norm"]
    named = infer(run, words, runs, *few, "--cohort=words")
    table = [line for line in own.out.splitlines() if line.startswith("|")]
    assert table and table == [line for line in named.out.splitlines() if line.startswith("|")]
    none = infer(run, words, runs, *few[:4], "cat", "dog", "tree", "--unknown")
    assert none.code == 0 and "no cohort to normalise scores by: " in none.out and "t-norm" not in none.out
    refused(infer(run, words, runs, *few, "--cohort=wrods"), "'wrods'", "not registered")


@pytest.mark.parametrize("flags, parts", [
    ([*ENROL, "--unknown", "dgo"], ["--unknown", "'dgo'", "bed, cat, dog", "words"]),
    (["--html", "/none/a.html"], ["--html", "no folder"]),
    (["--shots", "13"], ["--shots 13", "bed (12)", "--enroll"]),
    (["--protocol=commands10"], ["--protocol commands10", "words lacks", "_silence_", "data.speech_commands"]),
    (["--new_words"], ["words has no words held out", "data.libriwords"])])
def test_enrolment_that_cannot_be(flags, parts, encoder, run, words, runs):
    before = sorted((runs / "enc").iterdir())
    refused(infer(run, words, runs, *flags), *parts)
    assert sorted((runs / "enc").iterdir()) == before


def test_heads_and_embeddings_at_each_checkpoint(runs, words, run, monkeypatch):
    """Neither changes what the encoder learns; a resume makes what is missing."""
    flags = [f"--runs_dir={runs}", *words.flags, *TRAIN, "--num_steps=3", "--step_freq=2", "--augment",
             "--spec_augment", "--data_probs=6", "--mining=semihard", "--clip_seconds=0.8", "--classify_gpu", "1",
             "--noise_snr", "0", "10", "--batch_classes=4"]
    assert run("TripletEncoder", "--name=without_heads", *flags).code == 0
    done = run("TripletEncoder", "--name=all", *flags, "--save_emb", "--cl")
    assert done.code == 0 and "--classify_gpu: no such GPU here" in done.error
    assert "command" not in Run(runs, "all").config()["arguments"]
    plain, every = Run(runs, "without_heads"), Run(runs, "all")
    for step in (2, 3):
        one, other = (load_state(folder.path("Res8", step)) for folder in (plain, every))
        assert all(torch.equal(one[name], other[name]) for name in one)
        head = Run(runs, f"all_classifier{step}")
        assert head.config()["arguments"]["enc_step"] == step and str(head.path(HEAD, head.steps(HEAD)[-1])) in done.out
        assert run("infer_notl", "--name=all", f"--cl_name={head.name}", f"--runs_dir={runs}", *words.flags,
                   "--model=Res8").code == 0

    board = every.folder / "tensorboard"
    listed = text_format.Parse((board / "projector_config.pbtxt").read_text(), ProjectorConfig()).embeddings
    assert [one.tensor_name for one in listed] == ["dev-000002", "dev-000003"]
    words_of_dev = [line.split("\t")[0] for line in (board / listed[1].metadata_path).read_text().splitlines()]
    assert words_of_dev == ["label", *(label for label in words.labels for _ in range(5))]
    with torch.no_grad():
        waveform = torch.from_numpy(soundfile.read(words.folder / "bed" / "dev0_nohash_0.wav", dtype="int16")[0])
        expected = load_encoder(every.folder)(waveform[None])[0].numpy()
    assert np.abs(np.loadtxt(board / listed[1].tensor_path)[0] - expected).max() < 1e-5

    again = ["--name=all", f"--runs_dir={runs}", *words.flags, "--model=Res8", "--resume", "--cl"]
    trained = []
    monkeypatch.setattr("models.training.loop._run_classifier",
                        lambda flags, _: trained.append(flags[0]) or (2, "error: why"))
    assert run("TripletEncoder", *again).code == 0 and not trained
    shutil.rmtree(runs / "all_classifier2")
    refused(run("TripletEncoder", *again), "--cl", "step 2", "error: why")
    assert trained == ["--name=all_classifier2"]

    wrong = run("infer_train", "--name=all", f"--runs_dir={runs}", *words.flags, "--model=Res8", "--clip_seconds=1.0")
    assert wrong.code == 2
    assert "--clip_seconds 1.0" in wrong.error and "0.8" in wrong.error


@pytest.mark.parametrize("script, flags", [
    ("TripletEncoder", ["--per_class=3", "--shift", "--augment", "--optimizer=adamw", "--schedule=onecycle"]),
    ("TripletEncoder", ["--per_class=3", "--data_probs=3", "--batch_classes=4"]),
    ("TripletEncoder", ["--per_class=3", "--augment", "--speed", "--reverb", "--babble=0.5", "--band_limit=0.5",
                        "--gain", "--vtlp", "--spec_augment=light"]),
    ("TripletClassifier", ["--batch_size=20", "--babble", "--vtlp"]),
    ("TripletEncoder", ["--recipe=fast", "--loss=angular_prototypical", "--loss_lr=0.05"]),
    ("TripletEncoder", ["--recipe=fast", "--loss=supcon"]),
    ("TripletEncoder", ["--recipe=fast", "--loss=multi_similarity"])])
def test_resumed_weights_equal_uninterrupted_ones(script, flags, runs, words, run, request):
    """An interrupted run is the uninterrupted one with its later checkpoints taken away."""
    name = f"resumed-{request.node.callspec.indices['flags']}"
    common = [f"--runs_dir={runs}", *words.flags, "--model=Res8", "--hidden_size=6", "--num_steps=7", "--step_freq=3",
              "--eval_clips=12", *flags]
    assert run(script, f"--name={name}", *common).code == 0
    folder = Run(runs, name)
    whole = {path.name: load_state(path) for path in folder.checkpoints.glob("*-STEP-7.pt")}
    for path in folder.checkpoints.iterdir():
        if "-STEP-3." not in path.name:
            path.unlink()
    taken = run(script, f"--name={name}", *common)
    assert taken.code == 2 and "--resume" in taken.error
    assert run(script, f"--name={name}", f"--runs_dir={runs}", *words.flags, "--model=Res8", "--resume").code == 0
    assert len(whole) >= 2
    for file, state in whole.items():
        resumed = load_state(folder.checkpoints / file)
        if file.startswith(TRAINER):
            state, resumed = ([one["optimizer"]["state"], one.get("loss", {})] for one in (state, resumed))
        torch.testing.assert_close(resumed, state, rtol=0, atol=0)
    assert folder.config()["arguments"]["hidden_size"] == 6


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_saves_says_where_and_can_be_resumed(number, runs, words):
    name = f"stopped{int(number)}"
    command = [sys.executable, "TripletEncoder.py", f"--name={name}", f"--runs_dir={runs}", *words.flags,
               "--model=Res8", "--hidden_size=6", "--per_class=2", "--num_steps=100000", "--step_freq=1",
               "--eval_freq=100000", "--checkpoints_to_keep=1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONUNBUFFERED": "1"})
    run = Run(runs, name)
    while process.poll() is None and not run.steps(TRAINER):
        time.sleep(0.2)
    process.send_signal(number)
    out, error = process.communicate()
    assert process.returncode == 128 + number, error
    step = run.steps(TRAINER)[-1]
    assert str(run.path(TRAINER, step)) in out and "--resume" in out
    assert load_state(run.path(TRAINER, step))["step"] == step == run.steps("Res8")[-1]
    assert "Traceback" not in error


def without(blocked: tuple, script: str, *flags) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", BLOCKED.format(blocked=blocked, script=script), *flags], cwd=ROOT,
                          capture_output=True, text=True)


@pytest.fixture(scope="module")
def head(encoder, words, runs):
    import TripletClassifier

    TripletClassifier.main(TripletClassifier.parse_args(
        ["--name=plain", "--enc_name=enc", f"--runs_dir={runs}", *words.flags, "--model=Res8", "--num_steps=2"]))
    return "plain"


def test_encoders_and_heads_are_tested_without_nemo_and_lightning(head, words, runs):
    flags = ["--name=enc", f"--runs_dir={runs}", *words.flags, "--model=Res8"]
    for script, more in (("infer_train", ["--enc_step=40"]), ("infer_train", ["--shots", "1", "--repeats=1"]),
                         ("infer_notl", [f"--cl_name={head}"])):
        done = without(BOTH, script, *flags, *more)
        assert done.returncode == 0, done.stderr
        assert "ccuracy" in done.stdout


def test_the_fast_recipe_trains_without_nemo(words, tmp_path):
    done = without(("nemo",), "TripletEncoder", "--name=a", f"--runs_dir={tmp_path}", *words.flags, *TRAIN,
                   "--num_steps=1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a" / "checkpoints" / "Res8-STEP-1.pt").exists()
