"""The export is the encoder: the front end without complex numbers, any batch, and what the file says of itself."""

import hashlib
import json

import numpy as np
import pytest
import torch

from data.base.errors import UserError
from data.base.files import file_digest
from models.encoders.build import make_encoder
from models.encoders.frontend import SETTINGS, LogMel, settings
from models.runs.checkpoints import Run, load_state
from spotting.encoders.load import load_onnx, load_torch, sealed
from spotting.encoders.plain import Folded, PlainLogMel, log1p
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
    assert about["sample_rate"] == "16000" and about["clip_seconds"] == "1.0"
    assert json.loads(about["frontend"]) == SETTINGS
    assert (about["run"], about["model"], about["step"]) == ("tiny", "Res8", "1")
    shapes = [[d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]
              for value in (*model.graph.input, *model.graph.output)]
    assert isinstance(shapes[0][0], str) and shapes[0][1] == 16_000
    assert shapes[1] == [shapes[0][0], 45]
    assert not {"STFT", "DFT", "Complex", "ATen"} & {node.op_type for node in model.graph.node}
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    facts = [load_torch(tiny, None, None, 0).facts, load_onnx(exported).facts]
    assert [f.sha256 for f in facts] == [file_digest(tiny / "checkpoints" / "Res8-STEP-1.pt")] * 2


def test_res15_of_another_length(tmp_path):
    torch.manual_seed(0)
    run = Run(tmp_path, "r")
    run.save({"Res15": make_encoder("Res15", 8)}, {}, 3, 1)
    run.write_config({"model": "Res15", "hidden_size": 8, "clip_seconds": 0.5, "frontend": settings("log")})
    ours = load_torch(run.folder, None, None, 0)
    (tmp_path / "e.onnx").write_bytes(export(ours.facts))
    theirs, x = load_onnx(tmp_path / "e.onnx"), clips(3, 8_000)
    assert theirs.facts.clip_seconds == 0.5
    assert theirs.facts.frontend == ours.facts.frontend == settings("log")
    assert np.abs(theirs(x) - ours(x)).max() < 1e-4


def test_an_export_that_differs_is_not_kept(run, spotter, exported, tmp_path, monkeypatch):
    import spotting.export as module

    monkeypatch.setattr(module, "MOST", 1e-12)
    monkeypatch.setattr(module, "export", lambda *_: exported.read_bytes())
    (tmp_path / "e.onnx").write_text("an older one")
    done = run("spotting.export", *spotter.flags, "--out", tmp_path / "e.onnx", "--check", spotter.said)
    assert done.code == 2 and "differ by up to" in done.error
    assert (tmp_path / "e.onnx").read_text() == "an older one"


def test_a_file_that_is_not_as_it_was_written_is_refused(exported, tmp_path):
    whole, path = exported.read_bytes(), tmp_path / "e.onnx"
    assert {entry.key: entry.value for entry in onnx.load(exported).metadata_props}["digest"] == \
        hashlib.sha256(whole.removesuffix(sealed(whole)[len(whole):])[:-len(sealed(b""))]).hexdigest()
    places = np.random.default_rng(0).integers(0, len(whole), 200)
    for content in (b"", b"hello", whole + b"\0", whole[:-1], whole[1:], whole[:5_000], onnx.load(exported)
                    .SerializeToString()[:-80], *(whole[:i] + bytes([whole[i] ^ 4]) + whole[i + 1:] for i in places)):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"e.onnx: is not as .* write it again"):
            load_onnx(path)


def about(key, value):
    return lambda model: model.metadata_props.add(key=key, value=value)  # the last of a key counts


def another(model):
    """Other arithmetic of the same inputs and outputs: the waveforms themselves."""
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.graph.node.append(onnx.helper.make_node("Identity", ["waveforms"], ["embeddings"]))


def spoil(value):
    def change(model):
        weight = next(t for t in model.graph.initializer if "weight" in t.name)
        weight.CopyFrom(onnx.numpy_helper.from_array(value * onnx.numpy_helper.to_array(weight), weight.name))
    return change


@pytest.mark.parametrize("change", [
    *(about(*entry) for entry in (("clip_samples", "x"), ("clip_samples", "0"), ("clip_samples", "8000"), ("step", ""),
                                  ("width", "44"), ("sample_rate", "8000"), ("frontend", ""), ("cohort", "A"),
                                  ("cohort", "AAAA"), ("probe", "A"), ("probe", "AAAA"))),
    lambda model: model.ClearField("metadata_props"), another, spoil(np.float32("nan")), spoil(np.float32(-1))])
def test_a_file_with_a_digest_that_is_no_export_all_the_same(exported, tmp_path, change):
    """Whatever onnxruntime and the readers of metadata raise: one line that names the file."""
    model = onnx.load(exported)
    change(model)
    (tmp_path / "e.onnx").write_bytes(sealed(model.SerializeToString()))
    with pytest.raises(UserError, match=r"e.onnx: .*cannot be used .*write it again") as told:
        load_onnx(tmp_path / "e.onnx")
    assert "\n" not in str(told.value)


def test_an_encoder_that_gives_no_numbers_finds_nothing_in_silence(run, tiny, spotter, tmp_path):
    """Its weights are numbers, but the root of a variance below zero is none."""
    state = load_state(tiny / "checkpoints" / "Res8-STEP-1.pt")
    state["bn6.running_var"].fill_(-1)
    nan = Run(tmp_path, "nan")
    nan.checkpoints.mkdir(parents=True)
    torch.save(state, nan.path("Res8", 1))
    refused(run("spotting.enroll", "--clips", spotter.clips, "--out", tmp_path / "w.json", "--encoder", nan.folder),
            "Res8-STEP-1.pt", "not numbers")


@pytest.mark.parametrize("compression", ["log", "constant"])
@pytest.mark.parametrize("samples", [16_000, 15_999, 8_000, 12_345, 24_000])
def test_the_plain_front_end_is_the_front_end(samples, compression):
    x = torch.from_numpy(clips(6, samples)).double() / 32768
    assert x.shape[1] == samples
    frontend = LogMel(compression).eval().double()
    plain, wanted = PlainLogMel(frontend, samples)(x), frontend(x)
    assert plain.shape == wanted.shape and torch.allclose(plain, wanted, atol=1e-7)


@pytest.mark.parametrize(("model", "width", "embedding"), [("Res8", 45, None), ("Res8", 15, 24), ("Res15", 9, None)])
def test_folding_changes_no_embedding_whatever_the_batch_norms(model, width, embedding):
    encoder, generator = make_encoder(model, width, embedding).eval(), torch.Generator().manual_seed(1)
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1, generator=generator)
            module.running_var.uniform_(0.2, 3, generator=generator)
    x = torch.randn(3, 64, 112, generator=generator)
    with torch.no_grad():
        wanted = encoder(x)
        assert (Folded(encoder)(x) - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_a_logarithm_of_little_more_than_one_is_exact():
    x = torch.cat([torch.zeros(1), torch.logspace(-30, 8, 4001)])
    wanted = torch.log1p(x.double())
    assert ((log1p(x).double() - wanted).abs() <= 4e-7 * wanted).all()
