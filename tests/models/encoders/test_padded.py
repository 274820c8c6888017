"""Channels filled up with zeros change nothing but how the arithmetic is laid out."""

import copy

import pytest
import torch

from models.encoders.build import make_encoder

SHAPES = {"Res8": {}, "Res8 by parts": {"parts": 3, "embedding": 20, "compression": "constant"}, "Res15": {},
          "Res15 of 20": {"embedding": 20}}


def outcome(encoder, spectrograms, padded: bool, train: bool) -> dict[str, torch.Tensor]:
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
@pytest.mark.parametrize("kind", list(SHAPES))
def test_values_gradients_and_statistics_are_those_of_the_channels_there_are(kind, train):
    torch.manual_seed(0)
    encoder = make_encoder(kind.split()[0], 13, frames=48, **SHAPES[kind]).double()
    for i in range(1, encoder.layers + 1):
        norm = encoder.get_submodule(f"bn{i}")
        norm.running_mean.normal_(0.1, 0.1)
        norm.running_var.uniform_(0.1, 0.5)
    spectrograms = torch.randn(5, 64, 96, dtype=torch.float64)
    plain, padded = (outcome(encoder, spectrograms, way, train) for way in (False, True))
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
