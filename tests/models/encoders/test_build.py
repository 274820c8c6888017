"""Res8, Res15, QuartzNet and the head: the original's parameters and figures, one clip, one embedding, and a prior."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.encoders.build import ClassificationNet, add_prior, embed, make_encoder
from models.encoders.frontend import LogMel, frames_of
from models.encoders.resnet import CHUNK
from models.runs.checkpoints import load_module
from models.runs.options.common import MODELS


def set_by_formula(encoder: torch.nn.Module) -> None:
    """Weights as in the reference: entry j of the state dict is sin(0.37 i + j), scaled by kind."""
    for j, (name, value) in enumerate(encoder.state_dict().items()):
        base = np.sin(0.37 * np.arange(value.numel()) + j)
        if "conv" in name:
            base = 0.05 * base
        elif "mean" in name:
            base = 0.1 * base
        elif "var" in name:
            base = np.abs(base) + 0.5
        else:
            continue
        value.copy_(torch.from_numpy(base.astype(np.float32)).view(value.shape))


@pytest.mark.parametrize("model, width", [("Res8", 45), ("Res15", 45), ("Res8", 64), ("Res15", 64)])
def test_parameters_are_the_originals(params, model, width):
    encoder, expected = make_encoder(model, width), params[f"{model}({width})"]
    assert {name: list(p.shape) for name, p in encoder.named_parameters()} == expected["params"]
    assert [[name, [list(v.shape), str(v.dtype)]] for name, v in encoder.state_dict().items()] == \
        [list(entry) for entry in expected["state"].items()]
    assert sum(p.numel() for p in encoder.parameters()) == expected["total"]


@pytest.mark.parametrize("model, width", [("Res8", 45), ("Res15", 45), ("Res8", 64)])
def test_embeddings_meet_the_originals(golden, model, width):
    encoder = make_encoder(model, width).eval()
    set_by_formula(encoder)
    with torch.no_grad():
        found = encoder(torch.from_numpy(golden["noise_spec"])).numpy()
    assert np.abs(found - golden[f"formula_{model}_{width}_embedding"]).max() < 1e-5


def test_head_meets_the_original(golden, params):
    head = ClassificationNet(45, 10)
    assert {name: list(p.shape) for name, p in head.named_parameters()} == params["ClassificationNet(10,45)"]["params"]
    with torch.no_grad():
        head.fc1.weight.copy_(torch.from_numpy(golden["cls_fc_w"]))
        head.fc1.bias.copy_(torch.from_numpy(golden["cls_fc_b"]))
        scores = head(torch.from_numpy(golden["cls_emb"][:, 0]))
    assert np.abs(scores.numpy() - golden["cls_out_logsoftmax"]).max() < 1e-5
    loss = functional.nll_loss(scores, torch.from_numpy(golden["cls_targets"]).long())
    assert loss.item() == pytest.approx(float(golden["cls_ce"]), abs=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_one_clip_one_embedding_whatever_its_batch(model):
    torch.manual_seed(0)
    encoder, spectrograms = make_encoder(model, 16), torch.randn(CHUNK + 3, 64, 112)
    for module in encoder.modules():
        if hasattr(module, "running_mean"):
            module.momentum = None  # one batch sets the statistics, as many would
    encoder(spectrograms)
    encoder.eval()
    order = torch.randperm(len(spectrograms))
    with torch.no_grad():
        together, shuffled = embed(encoder, spectrograms), embed(encoder, spectrograms[order])
        alone = torch.cat([embed(encoder, clip[None]) for clip in spectrograms])
    assert (together.norm(dim=1) - 1).abs().max() < 1e-5
    assert (alone - together).abs().max() < 1e-5
    assert (shuffled - together[order]).abs().max() < 1e-5
    assert (together[0] - together[1]).abs().max() > 1e-3  # and two clips, two embeddings


def test_frames_of_a_clip_are_its_spectrograms():
    for samples in (1600, 12_800, 16_000, 16_001, 17_439, 17_440, 40_000):
        assert LogMel()(torch.zeros(1, samples)).shape[2] == frames_of(samples)


@pytest.mark.parametrize("filters, total", [(128, 9_296_320), (1024, 16_179_392)])
def test_quartz_is_the_originals_network(filters, total):
    """Ten blocks: parameters counted by hand, then stride, dilation and the frames that each one gives."""
    def block(inputs, outputs, kernel, repeats):
        """Depthwise, pointwise and batch norm, ``repeats`` times; of several, a 1x1 convolution and norm goes by."""
        sizes = [inputs] + repeats * [outputs]
        layers = sum(kernel * c + c * outputs + 2 * outputs for c in sizes[:-1])
        return layers + (repeats > 1) * (inputs * outputs + 2 * outputs)

    encoder = make_encoder("Quartz", 128, filters=filters)
    blocks = encoder.quartznet.encoder
    assert [sum(p.numel() for p in b.parameters()) for b in blocks] == [
        block(64, 256, 33, 1), block(256, 256, 33, 5), block(256, 256, 39, 5), block(256, 256, 39, 5),
        block(256, 512, 51, 5), block(512, 512, 51, 5), block(512, 512, 63, 5), block(512, 512, 75, 5),
        block(512, 512, 87, 1), 512 * filters + 2 * filters]
    assert encoder.linear.weight.shape == (128, filters * 56)
    assert sum(p.numel() for p in encoder.parameters()) == total
    kernels, found, x = [33, 33, 39, 39, 51, 51, 63, 75, 87, 1], [], torch.randn(1, 64, 112)
    for b, kernel in zip(blocks, kernels, strict=True):
        depthwise = [m for m in b.modules() if isinstance(m, torch.nn.Conv1d) and m.kernel_size == (kernel,)]
        found.append((len(depthwise), depthwise[0].stride[0], depthwise[0].dilation[0], b.res is not None))
        x = b(([x], None))[0][-1]
        assert x.shape[2] == 56
    assert found == [(1, 2, 1, False), *[(5, 1, 1, True)] * 7, (1, 1, 2, False), (1, 1, 1, False)]


def test_res8_in_chunks_equals_res8_at_once(monkeypatch):
    """On a CPU Res8's first stage is computed in chunks and again for the gradient; that must change nothing."""
    spectrograms, found = torch.randn(2 * CHUNK + 3, 64, 112), []
    for chunk in (CHUNK, 1000):
        monkeypatch.setattr("models.encoders.resnet.CHUNK", chunk)
        torch.manual_seed(0)
        encoder = make_encoder("Res8", 12)
        embeddings = encoder(spectrograms)
        embeddings[:, 0].sum().backward()
        found.append([embeddings.detach(), *(p.grad for p in encoder.parameters())])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("run", ["res15_35", "res15_12"])
def test_published_encoders_embed_as_they_did(golden, noise, request, run):
    folder = request.config.getoption("--reference")
    if folder is None:
        pytest.skip("needs the published encoders: --reference=FOLDER")
    encoder = load_module(folder / run / "checkpoints" / "Res15-STEP-14000.pt", make_encoder("Res15", 45), "Res15")
    spectrograms = LogMel().eval()(noise, torch.from_numpy(golden["noise_len"]))
    with torch.no_grad():
        found = embed(encoder.eval(), spectrograms).numpy()
    expected = golden[f"{run}_noise_embedding"]
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(found[:3] - expected[:3]).max() < 1e-4
    assert (found * expected).sum(1).min() > 0.9999


@pytest.mark.parametrize("model", MODELS)
def test_an_embedding_of_another_size_than_the_network(model):
    encoder = make_encoder(model, 12, 7)
    assert encoder.width == 7 and encoder(torch.randn(2, 64, 112)).shape == (2, 7)
    if model in ("Res8", "Res15"):
        assert encoder.conv0.out_channels == 12
        plain = make_encoder(model, 12)
        plain.load_state_dict({name: value for name, value in encoder.state_dict().items() if "project" not in name})
        x = torch.randn(3, 64, 112)
        with torch.no_grad():
            assert torch.equal(encoder.eval()(x), encoder.project(plain.eval()(x)))
        assert make_encoder(model, 12, 12).state_dict().keys() == plain.state_dict().keys()  # none where none is needed


def test_the_prior_makes_the_posterior_of_equally_many_clips_that_of_unequally_many():
    rng = np.random.default_rng(0)
    density = rng.random((50, 4))  # of a clip, given its class
    clips = np.array([900, 60, 37, 3])
    balanced = np.log(density / density.sum(1, keepdims=True))
    joint = density * clips
    posterior = np.exp(add_prior(balanced.astype(np.float32), clips))
    np.testing.assert_allclose(posterior, joint / joint.sum(1, keepdims=True), rtol=1e-5)
    assert (posterior.argmax(1) != balanced.argmax(1)).any()


def test_a_class_without_a_clip_is_never_predicted_and_scores_far_below_stay_numbers():
    scores = add_prior(np.array([[0, -2000, -3000]], np.float32), np.array([0, 5, 5]))
    assert scores.argmax() == 1 and scores[0, 0] == -np.inf and scores[0, 1] == 0
    np.testing.assert_allclose(scores[0, 2], -1000)
