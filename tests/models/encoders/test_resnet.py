"""Res8 and Res15 by parts, and with channels filled up, against the same layers as torch's modules have them."""

import copy
from functools import partial

import pytest
import torch

from models.encoders import residual, resnet
from models.encoders.build import make_encoder
from models.encoders.device import place
from models.encoders.resnet import Res8, Res15

PARTS = partial(Res8, embedding=6, parts=3, margin=2)
SHAPES = {Res8: (7, 64, 40), Res15: (5, 64, 32), PARTS: (7, 64, 40)}
KINDS = {"Res8": {}, "Res8 by parts": {"parts": 3, "embedding": 20, "compression": "constant"}, "Res15": {},
          "Res15 of 20": {"embedding": 20}}


def both(kind, train: bool, monkeypatch, clips: int = 2, momentum: float | None = 0.1):
    """Spectrograms and two equal encoders; the second one is to run by parts of ``clips`` clips."""
    torch.manual_seed(0)
    plain = kind(10).double().train(train)  # in which no rounding moves a value across a ReLU's corner
    for norm in (module for module in plain.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.momentum = momentum
        norm.running_mean.uniform_(0, 0.3)
        norm.running_var.uniform_(0.5, 1)
    batch, mels, frames = SHAPES[kind]
    spectrograms = torch.randn(batch, mels, frames, dtype=torch.float64)
    positions = frames * mels if kind is Res15 else (frames // 3) * (mels // 4)
    monkeypatch.setattr(residual, "CACHED", clips * 10 * positions)
    return spectrograms, plain, copy.deepcopy(plain)


def outcome(encoder, spectrograms, by_parts: bool):
    encoder.by_parts = by_parts
    embeddings = encoder(spectrograms)
    direction = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(1), dtype=embeddings.dtype)
    (embeddings * direction).sum().backward()
    return embeddings, {name: p.grad for name, p in encoder.named_parameters()}, dict(encoder.named_buffers())


@pytest.mark.parametrize("kind", list(SHAPES))
@pytest.mark.parametrize(("train", "momentum", "clips"), [(True, 0.1, 3), (True, None, 100), (False, 0.1, 1)])
def test_values_gradients_and_statistics_are_those_of_the_modules(kind, train, momentum, clips, monkeypatch):
    spectrograms, plain, parts = both(kind, train, monkeypatch, clips, momentum)
    if kind is Res8 and momentum:  # a batch norm left in evaluation mode keeps its statistics
        for encoder in (plain, parts):
            encoder.bn3.eval()
    embeddings, gradients, statistics = outcome(plain, spectrograms, False)
    found, by_parts, updated = outcome(parts, spectrograms, True)
    torch.testing.assert_close(found, embeddings, rtol=1e-9, atol=1e-9)
    for name, gradient in gradients.items():
        assert gradient.norm() > 0
        assert (by_parts[name] - gradient).norm() < 1e-9 * gradient.norm(), name
    torch.testing.assert_close(updated, statistics, rtol=1e-9, atol=1e-9)
    assert [updated[f"bn{i}.num_batches_tracked"] for i in (3, 4)] == [train and plain.bn3.training, train]


@pytest.mark.parametrize("kind", list(SHAPES))
def test_without_gradient_each_part_goes_through_all_layers(kind, monkeypatch):
    spectrograms, plain, parts = both(kind, False, monkeypatch)
    with torch.no_grad():
        by_parts = parts(spectrograms)
        alone = torch.cat([parts(one[None]) for one in spectrograms])
    plain.by_parts = False
    torch.testing.assert_close(by_parts, plain(spectrograms).detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(by_parts, alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", list(SHAPES))
def test_bfloat16_on_a_cpu_does_not_run_by_parts_and_dilated_layers_not_channels_last(kind, monkeypatch):
    """torch 2.13.0 crashes in the backward of dilated layers with bfloat16 and channels-last together."""
    spectrograms, encoder, _ = both(kind, True, monkeypatch)
    spectrograms, encoder = spectrograms.float(), encoder.float()
    monkeypatch.setattr(resnet, "residual_layers", None)  # would raise
    place(encoder, torch.device("cpu"), "bf16")
    layouts = []
    for module in encoder.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda module, given, out: layouts.append((
                out.dtype, out.is_contiguous(), module.weight.is_contiguous())))
    with torch.autocast("cpu", torch.bfloat16):
        encoder(spectrograms).float().sum().backward()
    dilated = any(max(m.dilation) > 1 for m in encoder.modules() if isinstance(m, torch.nn.Conv2d))
    if not dilated:
        del layouts[0]  # weights of one input channel lie the same way in either layout
    assert len(layouts) >= encoder.layers + dilated and set(layouts) == {(torch.bfloat16, dilated, dilated)}


@pytest.mark.parametrize("kind", list(SHAPES))
def test_single_precision_is_as_near_as_the_modules(kind, monkeypatch):
    spectrograms, exact, encoder = both(kind, True, monkeypatch)
    encoder.float()
    modules = copy.deepcopy(encoder)
    expected, right, _ = outcome(exact, spectrograms, False)
    found, by_parts, _ = outcome(encoder, spectrograms.float(), True)
    _, by_modules, _ = outcome(modules, spectrograms.float(), False)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    for name, gradient in right.items():
        error, usual = ((found[name] - gradient).norm() / gradient.norm() for found in (by_parts, by_modules))
        assert error < 10 * usual + 1e-3, name


def after_two_steps(encoder, spectrograms, padded: bool, train: bool) -> dict[str, torch.Tensor]:
    """Embeddings, all gradients, and the batch norms' statistics after two steps."""
    encoder = copy.deepcopy(encoder).train(train)
    encoder.padded = padded
    x = spectrograms.clone().requires_grad_()
    for part in (x[:3], x[3:]):
        out = encoder(part)
        (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
    return {"out": out.detach(), "input": x.grad, **{f"{name}.grad": p.grad for name, p in encoder.named_parameters()},
            **encoder.state_dict()}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("kind", list(KINDS))
def test_values_gradients_and_statistics_are_those_of_the_channels_there_are(kind, train):
    torch.manual_seed(0)
    encoder = make_encoder(kind.split()[0], 13, frames=48, **KINDS[kind]).double()
    for i in range(1, encoder.layers + 1):
        norm = encoder.get_submodule(f"bn{i}")
        norm.running_mean.normal_(0.1, 0.1)
        norm.running_var.uniform_(0.1, 0.5)
    spectrograms = torch.randn(5, 64, 96, dtype=torch.float64)
    plain, padded = (after_two_steps(encoder, spectrograms, way, train) for way in (False, True))
    assert plain.keys() == padded.keys() and padded["conv1.weight"].shape == (13, 13, 3, 3)
    assert plain["conv1.weight.grad"].abs().max() > 0
    for name, value in plain.items():
        assert (padded[name] - value).abs().max() <= 1e-12 * value.abs().max().clamp_min(1), name
    assert int(padded["bn1.num_batches_tracked"]) == 2 * train


def test_channels_that_tensor_cores_take_and_a_cpu_are_left_as_they_are(monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr("models.encoders.resnet.padded_layers", never)
    make_encoder("Res8", 13)(torch.zeros(2, 64, 48))
    encoder = make_encoder("Res8", 16)
    encoder.padded = True
    encoder(torch.zeros(2, 64, 48))
    shared = torch.nn.SyncBatchNorm.convert_sync_batchnorm(make_encoder("Res8", 13))
    shared.padded = True
    assert not shared._pads(torch.device("cpu"))
