"""What is written for export is the encoder and its front end."""

import pytest
import torch

from models.encoders.build import make_encoder
from models.encoders.frontend import LogMel
from spotting.encoders.plain import Folded, PlainLogMel, log1p
from tests.spotting.test_export import clips


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
