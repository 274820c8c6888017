"""Teachers: what they are given and say, that it is kept, and what a student learns from it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from data.audio.dataset import Clips
from data.base.errors import UserError
from data.manifests.corpus import load_corpus
from data.manifests.manifest import UNLABELLED, read_manifest
from models.runs.checkpoints import TRAINER, Run, load_state
from models.teachers import lessons
from models.teachers.lessons import RELATIONS, Distillation, Taught, taught
from models.teachers.models import PACKAGES, Teacher, around_middle, open_teacher
from tests.conftest import TRAIN, infer, refused, write_set

SIZE = 40
CLIPS = np.random.default_rng(1).integers(-3000, 3000, (3, 16_000)).astype(np.int16)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory):
    """An ONNX file from waveforms (B, 16000) to (B, 40), and the function that it computes."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    turns = np.outer(np.arange(160), np.geomspace(250, 3000, SIZE // 2)) / 16_000
    waves = np.concatenate([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], 1).astype(np.float32)  # (160, 40)
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["frames"]),
         helper.make_node("MatMul", ["frames", "waves"], ["parts"]),
         helper.make_node("ReduceL2", ["parts", "axes"], ["embeddings"], keepdims=0)], "frequencies",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 16_000])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["B", SIZE])],
        [numpy_helper.from_array(np.array([-1, 100, 160]), "shape"), numpy_helper.from_array(np.array([1]), "axes"),
         numpy_helper.from_array(waves, "waves")])
    path = tmp_path_factory.mktemp("teacher") / "teacher.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)

    def embed(clips: np.ndarray) -> np.ndarray:
        return np.linalg.norm((clips / 32768).reshape(-1, 100, 160) @ waves, axis=1)
    return path, embed


def test_a_file_embeds_waveforms(teacher_file):
    path, embed = teacher_file
    teacher = open_teacher(str(path))
    assert teacher.size == SIZE
    assert np.allclose(teacher.embed(CLIPS), embed(CLIPS), rtol=1e-4)
    padded = np.pad(CLIPS, ((0, 0), (800, 800)))  # of another length: its middle
    assert np.allclose(teacher.embed(padded), embed(CLIPS), rtol=1e-4)


@pytest.mark.parametrize("samples", [7, 8, 11, 16])
def test_a_clip_is_cut_or_filled_up_around_its_middle(samples):
    clip = np.arange(1, 11)
    cut = around_middle(clip[None], samples)[0]
    assert len(cut) == samples
    kept = cut[cut > 0]
    assert np.array_equal(kept, clip[kept[0] - 1:kept[-1]]) and len(kept) == min(samples, 10)
    before, after = (kept[0] - 1, 10 - kept[-1]) if samples < 10 else (np.argmax(cut > 0), np.argmax(cut[::-1] > 0))
    assert abs(before - after) <= 1


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_that_is_not_there_is_named_with_its_install_command(name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(UserError, match=rf"--teacher {name}: is not installed; pip install --no-deps {name}=="):
        open_teacher(name)


def test_what_is_no_such_model_is_refused(tmp_path, teacher_file):
    with pytest.raises(UserError, match=r"nowhere\.onnx is no model .*efficientword-net"):
        open_teacher(str(tmp_path / "nowhere.onnx"))
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(teacher_file[0].read_bytes()[:100])
    with pytest.raises(UserError, match=r"cut\.onnx is no model that onnxruntime reads"):
        open_teacher(str(cut))


@pytest.fixture
def clips(words):
    return Clips.of(load_corpus("words", ("dev",), words.registry).splits["dev"], "dev", 1.0, words.folder / "cache")


def counting(embed, digest="one", size=40):
    heard = []

    def count(clips):
        heard.append(len(clips))
        return embed(clips)
    return Teacher("counting", size, digest, count), heard


def test_each_clip_is_heard_once(clips, teacher_file, tmp_path):
    teacher, heard = counting(open_teacher(str(teacher_file[0])).embed)
    found = taught(teacher, clips, "dev", tmp_path)
    expected = teacher_file[1](clips[np.arange(len(clips))][0].numpy())
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(found - expected).max() < 1e-3 and sum(heard) == len(clips) == len(found)
    again = taught(teacher, clips, "dev", tmp_path)
    assert np.array_equal(again, found) and sum(heard) == len(clips)
    file, = tmp_path.glob("*.f16")
    expected, cut = np.array(found), file.read_bytes()[:-100]
    file.unlink()  # what is mapped stays
    file.write_bytes(cut)
    assert np.array_equal(taught(teacher, clips, "dev", tmp_path), expected) and sum(heard) == 2 * len(clips)
    rows = np.array([4, 0])
    waveforms, labels, said = Taught(clips, found)[rows]
    assert np.array_equal(said, found[rows]) and np.array_equal(labels, clips.manifest.label[rows])
    assert np.array_equal(waveforms, clips[rows][0])


def test_context_is_not_heard(clips, teacher_file, tmp_path):
    teacher, _ = counting(lambda waveforms: waveforms[:, ::350].astype(np.float32) + 0.5, size=40)
    found = taught(teacher, clips, "dev", tmp_path, 1_000)
    expected = clips[np.arange(len(clips))][0].numpy()[:, 1_000:-1_000:350] + 0.5
    assert np.abs(found - expected / np.linalg.norm(expected, axis=1, keepdims=True)).max() < 1e-3
    assert len(taught(teacher, clips, "dev", tmp_path)) and len(list(tmp_path.glob("*.f16"))) == 2


def test_a_killed_hearing_goes_on(clips, teacher_file, tmp_path, monkeypatch):
    monkeypatch.setattr(lessons, "AT_ONCE", 4)
    embed = open_teacher(str(teacher_file[0])).embed

    def tires(clips):
        if len(heard) > 3:
            raise KeyboardInterrupt
        return embed(clips)
    teacher, heard = counting(tires)
    with pytest.raises(KeyboardInterrupt):
        taught(teacher, clips, "dev", tmp_path)
    part, = tmp_path.glob("*.part")
    part.write_bytes(part.read_bytes() + b"half a row")
    whole, heard = counting(embed)
    found = taught(whole, clips, "dev", tmp_path)
    assert sum(heard) == len(clips) - 12 and not list(tmp_path.glob("*.part"))
    assert np.array_equal(found, taught(whole, clips, "dev", tmp_path / "anew"))


def test_other_clips_and_other_teachers_are_heard_anew(clips, teacher_file, tmp_path):
    embed = open_teacher(str(teacher_file[0])).embed
    files = set()
    for teacher, some in ((counting(embed)[0], clips), (counting(embed, "two")[0], clips),
                          (counting(embed)[0], clips.subset(np.arange(1, len(clips))))):
        taught(teacher, some, "dev", tmp_path)
        files |= {path.name for path in tmp_path.iterdir()}
    assert len(files) == 3


def test_what_is_no_embedding_is_refused(clips, tmp_path):
    teacher, _ = counting(lambda clips: np.zeros((len(clips), 40), np.float32))
    with pytest.raises(UserError, match=r"gives no embedding of .*\.wav"):
        taught(teacher, clips, "dev", tmp_path)


def of_a_teacher(count=300, size=40, rank=6):
    """Embeddings (N, T) that differ in a few directions and in the one that they share."""
    parts = RNG.standard_normal((count, rank)) * np.linspace(2, 1, rank)
    found = parts @ np.linalg.qr(RNG.standard_normal((size, rank)))[0].T + RNG.standard_normal(size)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


@pytest.mark.parametrize("size", [7, 12, 60])
def test_targets_keep_the_teachers_cosines(size):
    """In as many numbers as the teacher's differ in, or more of them, those of the centred embeddings stay."""
    embeddings = of_a_teacher()
    loss = Distillation(40, size)
    loss.settle(embeddings)
    centred = embeddings.astype(float) - embeddings.astype(float).mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    targets = loss.targets(torch.from_numpy(embeddings)).double().numpy()
    assert np.abs(targets @ targets.T - centred @ centred.T).max() < 0.02


def test_targets_are_turned_to_where_the_student_is():
    embeddings, loss = of_a_teacher(), Distillation(40, 6)
    loss.settle(embeddings)
    turn = np.linalg.qr(RNG.standard_normal((6, 6)))[0].astype(np.float32)
    students = loss.targets(torch.from_numpy(embeddings)).numpy() @ turn
    rows = np.arange(0, 300, 3)
    loss.settle(embeddings, students[rows], rows)
    assert np.abs(loss.targets(torch.from_numpy(embeddings)).numpy() - students).max() < 1e-2


def test_the_loss_is_cosine_and_relations():
    embeddings, loss = torch.from_numpy(of_a_teacher()), Distillation(40, 6)
    loss.settle(embeddings.numpy())
    targets = loss.targets(embeddings)
    perfect, figures = loss(targets, embeddings)
    assert abs(perfect) < 1e-5 and abs(figures["cosine"] - 1) < 1e-5
    turned, figures = loss(-targets, embeddings)  # the same relations, all directions wrong
    assert abs(turned - 2) < 1e-5 and figures["relations"] < 1e-9
    some = functional.normalize(torch.randn(300, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    found, _ = loss(some, embeddings)
    by_hand = sum((some[i] @ some[j] - targets[i] @ targets[j]) ** 2 for i in range(300) for j in range(300)) / 300**2
    assert abs(found - (1 - (some * targets).sum(1).mean() + RELATIONS * by_hand)) < 1e-4


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


def test_a_resumed_run_is_an_uninterrupted_one(encoder, run, words, runs, teacher_file):
    flags = ["--loss=none", "--num_steps=20", "--init_from=enc"]
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


def test_windows_of_unknown_words_are_learnt_from_by_a_teacher_alone(run, words, runs, tmp_path):
    windows = [replace(one, label=UNLABELLED) for one in read_manifest(words.folder / "train.json")]
    registry = write_set(tmp_path, "windows", train=windows, dev=windows, test=windows)
    refused(run("TripletEncoder", "--name=x", f"--runs_dir={runs}", "--manifest=windows", f"--registry={registry}",
                f"--cache_dir={tmp_path}", *TRAIN), "_speech_", "--loss none")
