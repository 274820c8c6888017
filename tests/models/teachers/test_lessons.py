"""Training with a teacher: the student comes nearer to it, a killed run goes on, and other teachers are told."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from data.manifests.manifest import UNLABELLED, read_manifest
from models.runs.checkpoints import TRAINER, Run, load_state
from tests.conftest import TRAIN, infer, refused, write_set


def learn(run, words, runs, name, teacher_file, *flags):
    return run("TripletEncoder", f"--name={name}", f"--runs_dir={runs}", *words.flags, *TRAIN,
               f"--teacher={teacher_file[0]}", *flags)


@pytest.mark.parametrize("loss", ["none", "triplet", "supcon"])
def test_a_student_comes_nearer_to_its_teacher(run, words, runs, teacher_file, loss):
    done = learn(run, words, runs, f"taught-{loss}", teacher_file, f"--loss={loss}", "--num_steps=60",
                 "--embedding_size=10", "--eval_freq=20", "--batch_classes=6", "--lr=0.02")
    assert done.code == 0, done.error
    lines = [line for line in done.out.splitlines() if line.startswith("step ")]
    cosine = [float(line.split("cosine ")[1].split()[0]) for line in lines]
    assert len(cosine) == 3 and cosine[-1] > cosine[0] + 0.1
    if loss == "none":
        own = [float(line.split("cosine to the teacher ")[1].split()[0]) for line in lines]
        assert own[-1] > own[0] + 10
    tested = infer(run, words, runs, name=f"taught-{loss}")
    assert tested.code == 0 and float(tested.out.split("Accuracy: ")[1].split()[0]) > 50


def test_a_resumed_run_is_an_uninterrupted_one(run, words, runs, teacher_file):
    flags = ["--loss=none", "--num_steps=20", "--init_from=enc"]
    assert run("TripletEncoder", "--name=enc-for-taught", f"--runs_dir={runs}", *words.flags, *TRAIN,
               "--num_steps=10").code == 0
    flags[-1] = "--init_from=enc-for-taught"
    assert learn(run, words, runs, "taught-whole", teacher_file, *flags).code == 0
    shutil.copytree(runs / "taught-whole", runs / "taught-cut")
    for path in Run(runs, "taught-cut").checkpoints.glob("*-STEP-20.pt"):
        path.unlink()
    assert learn(run, words, runs, "taught-cut", teacher_file, *flags[:-1], "--resume").code == 0
    whole, cut = (load_state(Run(runs, name).path("Res8", 20)) for name in ("taught-whole", "taught-cut"))
    assert all(np.array_equal(whole[key], cut[key]) for key in whole)
    kept = [load_state(Run(runs, "taught-whole").path(TRAINER, step))["teacher"]["projection"] for step in (10, 20)]
    assert np.array_equal(*kept)
    assert np.allclose(kept[0].T @ kept[0], np.eye(12), atol=1e-4)  # turned, not stretched


def test_another_teacher_is_told_on_a_resume(run, words, runs, teacher_file, tmp_path):
    own = tmp_path / "teacher.onnx"
    shutil.copy(teacher_file[0], own)
    assert learn(run, words, runs, "taught-other", (own,), "--loss=none", "--num_steps=10").code == 0
    import onnx

    model = onnx.load(own)
    model.graph.doc_string = "another one"
    onnx.save(model, own)
    refused(learn(run, words, runs, "taught-other", (own,), "--loss=none", "--num_steps=20", "--resume"),
            "model of the --teacher changed")
    assert "teacher_sha256" in json.loads((runs / "taught-other" / "config.json").read_text())


def test_what_cannot_be_learnt_is_refused(run, words, runs, tmp_path):
    refused(run("TripletEncoder", "--name=x", f"--runs_dir={runs}", *words.flags, *TRAIN, "--loss=none"),
            "--loss none", "--teacher")
    for flags in (["--shares", "1", "2"], ["--data_probs=2"]):
        refused(run("TripletEncoder", "--name=x", f"--runs_dir={runs}", *words.flags, *TRAIN, "--loss=none",
                    "--teacher=x.onnx", *flags), "--loss none", "--shares")
    windows = [replace(one, label=UNLABELLED) for one in read_manifest(words.folder / "train.json")]
    registry = write_set(tmp_path, "windows", train=windows, dev=windows, test=windows)
    refused(run("TripletEncoder", "--name=x", f"--runs_dir={runs}", "--manifest=windows", f"--registry={registry}",
                f"--cache_dir={tmp_path}", *TRAIN), "_speech_", "--loss none")
