"""The residual layers by parts against the same layers as torch's modules have them."""

import copy
from functools import partial

import pytest
import torch

from models.encoders import residual, resnet
from models.encoders.device import place
from models.encoders.resnet import Res8, Res15

PARTS = partial(Res8, embedding=6, parts=3, margin=2)
SHAPES = {Res8: (7, 64, 40), Res15: (5, 64, 32), PARTS: (7, 64, 40)}


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
    embeddings, gradients, statistics = outcome(plain, spectrograms, False)
    found, by_parts, updated = outcome(parts, spectrograms, True)
    torch.testing.assert_close(found, embeddings, rtol=1e-9, atol=1e-9)
    for name, gradient in gradients.items():
        assert gradient.norm() > 0
        assert (by_parts[name] - gradient).norm() < 1e-9 * gradient.norm(), name
    for name, value in statistics.items():
        torch.testing.assert_close(updated[name], value, rtol=1e-9, atol=1e-9)


def test_a_batch_norm_left_in_evaluation_mode_keeps_its_statistics(monkeypatch):
    spectrograms, plain, parts = both(Res8, True, monkeypatch)
    for encoder in (plain, parts):
        encoder.bn3.eval()
    _, gradients, statistics = outcome(plain, spectrograms, False)
    _, by_parts, updated = outcome(parts, spectrograms, True)
    assert updated["bn3.num_batches_tracked"] == 0 < updated["bn4.num_batches_tracked"]
    for name, value in statistics.items():
        torch.testing.assert_close(updated[name], value, rtol=1e-9, atol=1e-9)
    for name, gradient in gradients.items():
        assert (by_parts[name] - gradient).norm() < 1e-9 * gradient.norm(), name


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
