"""Encoders with context: a recording's rows are computed once, and give what each window alone would."""

from argparse import Namespace

import numpy as np
import pytest
import torch

from data.audio.dataset import Clips, ResidentClips
from data.audio.decoding import fit
from data.base.errors import UserError
from data.manifests.corpus import load_corpus
from models.context import MARGIN, ROW, SHARED
from models.encoders import load_encoder
from models.encoders.build import make_encoder
from models.encoders.frontend import settings
from models.encoders.load import begin_with, find_encoder
from models.runs.checkpoints import Run, load_state
from models.teachers.lessons import fit_projection, means_of
from spotting.encoders.load import load_onnx, load_torch
from spotting.export import export
from spotting.sound.blocks import windows
from tests.conftest import TRAIN, infer, refused


def with_context(folder, parts=3, embedding=20, seed=0):
    """A run of an encoder whose batch norms are not what they began as."""
    torch.manual_seed(seed)
    encoder = make_encoder("Res8", 16, embedding, parts=parts, compression=SHARED)
    for norm in (module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.running_mean.uniform_(0, 0.3)
        norm.running_var.uniform_(0.5, 1)
    run = Run(folder, f"context-{parts}")
    run.save({"Res8": encoder}, {}, 1, 1)
    run.write_config({"model": "Res8", "hidden_size": 16, "clip_seconds": 1.4, "frontend": settings(SHARED)})
    return run


def sound(samples, seed=0):
    rng = np.random.default_rng(seed)
    return (3000 * rng.standard_normal(samples) * np.sin(np.arange(samples) / 2500) ** 2).astype(np.int16)


@pytest.mark.parametrize(("parts", "embedding"), [(1, None), (3, 20)])
@pytest.mark.parametrize("exported", [False, True])
def test_windows_that_share_rows_are_those_embedded_one_by_one(tmp_path, parts, embedding, exported):
    embedder = load_torch(with_context(tmp_path, parts, embedding).folder, None, None, 0)
    if exported:
        pytest.importorskip("onnxscript")
        (tmp_path / "e.onnx").write_bytes(export(embedder.facts))
        assert np.abs(load_onnx(tmp_path / "e.onnx")(sound(22_400)[None]) - embedder(sound(22_400)[None])).max() < 1e-5
        embedder = load_onnx(tmp_path / "e.onnx")
    for hop, batch in ((ROW, 5), (3 * ROW, 1), (3 * ROW, 7), (40 * ROW, 2)):
        shared, alone = embedder.of_sound(hop), []
        for _, clips in windows(iter([sound(30_000), sound(20_001, 1)]), embedder.facts.clip_samples, hop, batch):
            alone.append((shared(clips), embedder(np.ascontiguousarray(clips))))
        found, expected = (np.concatenate(each) for each in zip(*alone, strict=True))
        assert len(found) > 2 and np.abs(found - expected).max() < 1e-5
        assert np.abs(expected - expected[0]).max() > 0.01


def test_what_lies_outside_a_window_changes_nothing_and_a_smaller_margin_would(tmp_path):
    """The margin is as wide as it must be, and no wider."""
    run = with_context(tmp_path)
    encoder = load_encoder(run.folder)
    inside, around = sound(22_400), sound(22_400 + 20 * ROW, 1)
    around[10 * ROW:10 * ROW + 22_400] = inside
    alone, whole = (encoder.rows(torch.from_numpy(x)[None])[0] for x in (inside, around))
    assert (whole[10:10 + len(alone)] - alone).abs().max() < 1e-5
    encoder.encoder.margin = MARGIN - 1
    alone, whole = (encoder.rows(torch.from_numpy(x)[None])[0] for x in (inside, around))
    assert (whole[10:10 + len(alone)] - alone).abs().max() > 1e-4


def test_the_order_of_sounds_counts_with_parts(tmp_path):
    first, second = (sound(11_200, seed) for seed in (2, 3))
    second = np.cumsum(second.astype(float)) / 10  # another timbre
    there, back = (np.concatenate(pair).astype(np.int16)[None] for pair in ((first, second), (second, first)))
    near = [float((embed(there) * embed(back)).sum()) for embed in (
        load_torch(with_context(tmp_path, parts, 16).folder, None, None, 0) for parts in (1, 4))]
    assert near[1] < near[0]


def test_short_clips_lie_in_the_middle(words, tmp_path):
    manifest = load_corpus("words", ("dev",), words.registry).splits["dev"]
    clips, plain = (Clips.of(manifest, "dev", 1.4, tmp_path, centred=centred) for centred in (True, False))
    rows = np.arange(len(clips))
    found, before = clips[rows][0].numpy(), plain[rows][0].numpy()
    length = clips.packed.length
    assert (length < 22_400).all()
    for row, as_it_was, samples in zip(found, before, length, strict=True):
        assert np.array_equal(row, fit(as_it_was[:samples], 22_400, centred=True))
        assert row[(22_400 - samples) // 2:].any() and not row[:(22_400 - samples) // 2].any()
    for each in (clips, plain):
        assert np.array_equal(ResidentClips(each, torch.device("cpu"))[rows][0], each[rows][0])


def test_a_projection_is_fitted_to_a_teacher():
    torch.manual_seed(0)
    means, project = torch.randn(900, 12) + 3, torch.nn.Linear(12, 5)
    targets = torch.nn.functional.normalize(means @ torch.randn(12, 5) + 0.3 * torch.randn(900, 5), dim=1)
    fit_projection(project, means, targets)
    with torch.no_grad():
        error = (project(means) - targets).square().mean()
        assert error < 0.5 * (targets - targets.mean(0)).square().mean()
        for _ in range(20):  # but for the ridge it is the best one
            other = means @ (project.weight + 0.05 * torch.randn(5, 12)).T + project.bias
            assert (other - targets).square().mean() > error


def test_training_goes_on_from_other_parts(run, words, runs, tmp_path):
    flags = [f"--runs_dir={runs}", *words.flags, *TRAIN, "--compression=constant", "--parts=2", "--embedding_size=9"]
    assert run("TripletEncoder", "--name=plain-first", *flags[:-3], "--num_steps=10").code == 0
    done = run("TripletEncoder", "--name=with-parts", *flags, "--num_steps=10", "--init_from=plain-first",
               "--augment", f"--noise_dir={words.folder / 'noise'}")
    assert done.code == 0, done.error
    kept = Run(runs, "with-parts")
    assert kept.config()["clip_seconds"] == 1.4 and kept.config()["frontend"] == settings(SHARED)
    assert load_state(kept.path("Res8", 10))["project.weight"].shape == (9, 24)
    assert run("TripletEncoder", "--name=with-parts", *flags[:5], "--resume", "--num_steps=20").code == 0
    tested = infer(run, words, runs, "--save", name="with-parts")
    assert tested.code == 0, tested.error
    manifest = load_corpus("words", ("test",), words.registry).splits["test"]
    clips = Clips.of(manifest, "test", 1.4, tmp_path, centred=True)
    waveforms, saved = clips[np.arange(len(clips))][0], np.load(kept.folder / "knn-words-Res8-20-test_embeddings.npy")
    loaded = load_encoder(kept.folder)
    np.testing.assert_allclose(loaded(waveforms).numpy(), saved, atol=1e-5)
    short = waveforms[:, 3_000:-3_000]
    assert torch.equal(loaded(short), loaded(torch.nn.functional.pad(short, (3_000, 3_000))))
    refused(run("TripletEncoder", "--name=x", *flags[:-3], "--num_steps=10", "--init_from=with-parts",
                "--hidden_size=11"), "--hidden_size 11 contradicts")
    refused(run("TripletEncoder", "--name=with-parts", *flags[:5], "--resume", "--num_steps=30", "--compression=log"),
            "--compression log contradicts", "constant")
    assert run("TripletClassifier", "--name=parts-head", "--enc_name=with-parts", *flags[:5], "--num_steps=1").code == 0
    assert Run(runs, "parts-head").config()["frontend"] == settings(SHARED)
    assert run("infer_notl", "--name=with-parts", "--cl_name=parts-head", f"--runs_dir={runs}", *words.flags,
               "--model=Res8").code == 0


def test_convolutions_are_taken_and_means_are_the_projections_input(words, tmp_path):
    run = with_context(tmp_path)
    args = Namespace(model="Res8", clip_seconds=None, compression=None, hidden_size=None, embedding_size=None,
                     parts=None)
    find_encoder(args, run, 1)
    same, anew = begin_with(args, run, 1)
    assert not anew and torch.equal(same.project.weight, load_state(run.path("Res8", 1))["project.weight"])
    args.parts = 5
    other, anew = begin_with(args, run, 1)
    assert anew and other.project.weight.shape == (20, 80)
    for name, value in same.state_dict().items():
        assert "project" in name or torch.equal(other.state_dict()[name], value)
    encoder = load_encoder(run.folder)
    clips = Clips.of(load_corpus("words", ("dev",), words.registry).splits["dev"], "dev", 1.4, tmp_path, centred=True)
    rows = np.arange(6)
    means = means_of(encoder.encoder, encoder.frontend, clips, rows)
    expected = torch.nn.functional.normalize(encoder.encoder.project(means), dim=1)
    torch.testing.assert_close(encoder(clips[rows][0]), expected.detach(), rtol=1e-4, atol=1e-5)


def test_hops_are_whole_rows(tmp_path):
    facts = load_torch(with_context(tmp_path).folder, None, None, 0).facts
    assert [facts.hop_samples(hop) for hop in (0.01, 0.1, 0.11, 0.03, 1.0)] == [480, 1440, 1920, 480, 15_840]
    with pytest.raises(UserError, match=r"--hop 1\.2"):
        facts.hop_samples(1.2)
