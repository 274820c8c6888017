"""The export is the encoder: the front end without complex numbers, any batch, and what the file says of itself."""

import json

import numpy as np
import pytest
import torch

from data.base.files import file_digest
from models.encoders import load_encoder
from models.encoders.frontend import SETTINGS, settings
from models.runs.checkpoints import Run
from spotting.encoders.load import load_onnx, load_torch
from spotting.export import export
from tests.conftest import refused
from tests.spotting.conftest import RATE, scene

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
RNG = np.random.default_rng(6)


def clips(count, samples=RATE):
    found = [scene(RNG, [(i % 6, 0.05)], 1.6)[:samples] for i in range(count)]
    return np.clip(32768 * np.stack(found), -32768, 32767).astype(np.int16)


def near_silent():
    """(N, RATE) float32: zeros, noise at -100 dB of full scale and about it, single samples, and tones that faint."""
    rng, t = np.random.default_rng(2), np.arange(RATE) / RATE
    found = [np.zeros(RATE),
             *(10 ** (level / 20) * rng.standard_normal(RATE) for level in (-130, -110, -100, -90, -70)),
             *(1e-5 * np.sin(2 * np.pi * pitch * t) for pitch in (100, 3000))]
    for height in (1, 10, 100, 32767):
        for at in (0, 1, RATE // 2, RATE - 1):
            click = np.zeros(RATE)
            click[at] = height / 32768
            found.append(click)
    return np.stack(found).astype(np.float32)


def test_near_silence_is_the_same_too(tiny, exported):
    x = near_silent()
    ours, theirs = load_torch(tiny, None, None, 0), load_onnx(exported)
    as_int16 = (32768 * x).round().clip(-32768, 32767).astype(np.int16)
    assert np.abs(theirs(as_int16) - ours(as_int16)).max() <= 1e-4
    import onnxruntime

    by_float = onnxruntime.InferenceSession(exported.read_bytes(), providers=["CPUExecutionProvider"])
    found, = by_float.run(None, {by_float.get_inputs()[0].name: x})
    assert np.abs(found - load_encoder(tiny)(torch.from_numpy(x)).numpy()).max() <= 1e-4


def test_any_batch_gives_the_embeddings_of_torch(tiny, exported):
    ours, theirs = load_torch(tiny, None, None, 0), load_onnx(exported)
    x = clips(70)
    wanted = ours(x)
    for batch in (1, 2, 5, 70):
        assert np.abs(theirs.embed(x[:batch]) - wanted[:batch]).max() < 1e-4
    assert np.allclose(np.linalg.norm(theirs(x), axis=1), 1, atol=1e-5)
    assert theirs(x[:0]).shape == (0, 45)


def test_the_file_says_what_it_is_and_has_no_complex_numbers(tiny, exported):
    model = onnx.load(exported)
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about["sample_rate"] == "16000"
    assert about["clip_seconds"] == "1.0"
    assert json.loads(about["frontend"]) == SETTINGS
    assert (about["run"], about["model"], about["step"]) == ("tiny", "Res8", "1")
    shapes = [[d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]
              for value in (*model.graph.input, *model.graph.output)]
    assert isinstance(shapes[0][0], str)
    assert shapes[0][1] == 16_000
    assert shapes[1] == [shapes[0][0], 45]
    assert not {"STFT", "DFT", "Complex", "ATen"} & {node.op_type for node in model.graph.node}
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    facts = [load_torch(tiny, None, None, 0).facts, load_onnx(exported).facts]
    assert [f.sha256 for f in facts] == [file_digest(tiny / "checkpoints" / "Res8-STEP-1.pt")] * 2


@pytest.mark.parametrize("compression", ["log", "pcen"])
def test_res15_of_another_length(tmp_path, compression):
    from models.encoders.build import make_encoder

    torch.manual_seed(0)
    run = Run(tmp_path, "r")
    run.save({"Res15": make_encoder("Res15", 8)}, {}, 3, 1)
    run.write_config({"model": "Res15", "hidden_size": 8, "clip_seconds": 0.5, "frontend": settings(compression)})
    ours = load_torch(run.folder, None, None, 0)
    (tmp_path / "e.onnx").write_bytes(export(ours.facts))
    theirs, x = load_onnx(tmp_path / "e.onnx"), clips(3, 8_000)
    assert theirs.facts.clip_seconds == 0.5
    assert theirs.facts.frontend == ours.facts.frontend == settings(compression)
    assert np.abs(theirs(x) - ours(x)).max() < 1e-4


def test_an_export_that_differs_is_not_kept(run, spotter, tmp_path, monkeypatch):
    import spotting.export as module

    monkeypatch.setattr(module, "MOST", 1e-12)
    (tmp_path / "e.onnx").write_text("an older one")
    done = run("spotting.export", *spotter.flags, "--out", tmp_path / "e.onnx", "--check", spotter.said)
    assert done.code == 2
    assert "differ by up to" in done.error
    assert (tmp_path / "e.onnx").read_text() == "an older one"


def test_what_is_no_export(run, words_file, spotter, exported, tmp_path):
    said = spotter.said / "bed" / "0.wav"
    (tmp_path / "cut.onnx").write_bytes(exported.read_bytes()[:5_000])
    (tmp_path / "text.onnx").write_text("hello")
    model = onnx.load(exported)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    for name, why in (("cut", "no ONNX file"), ("text", "no ONNX file"), ("bare", "does not say"),
                      ("missing", "cannot be read")):
        refused(run("spotting.find", words_file, said, "--onnx", tmp_path / f"{name}.onnx"), f"{name}.onnx", why)
    refused(run("spotting.export", *spotter.flags, "--out", tmp_path / "e.txt"), "--out", ".onnx")


def test_words_of_another_encoder_are_refused_by_an_export_too(run, words_file, spotter, other, tmp_path):
    assert run("spotting.export", "--encoder", other, "--out", tmp_path / "o.onnx", "--check", spotter.said).code == 0
    refused(run("spotting.find", words_file, spotter.said / "bed" / "0.wav", "--onnx", tmp_path / "o.onnx"),
            "'tiny', Res8, step 1", "'other', Res8, step 5")
