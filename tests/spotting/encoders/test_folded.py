"""Folding changes no embedding, whatever its batch norms say, and however many clips there are."""

import pytest
import torch

from models.encoders.build import make_encoder
from models.encoders.frontend import LogMel
from spotting.encoders.folded import Folded, folded


@pytest.fixture(scope="module")
def spectrograms():
    torch.manual_seed(0)
    return LogMel().eval()(0.1 * torch.randn(9, 16_000) * torch.linspace(0.1, 1, 9)[:, None])


@pytest.mark.parametrize(("model", "width", "embedding"), [("Res8", 45, None), ("Res8", 15, 24), ("Res8", 90, None),
                                                           ("Res15", 9, None)])
def test_embeddings_are_the_same(spectrograms, model, width, embedding):
    encoder = make_encoder(model, width, embedding).eval()
    generator = torch.Generator().manual_seed(1)
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1, generator=generator)
            module.running_var.uniform_(0.2, 3, generator=generator)
    with torch.no_grad():
        wanted = encoder(spectrograms)
        for by_parts in (True, False):
            made = folded(encoder, by_parts)
            assert made.width == encoder.width
            for count in (1, 2, 9):
                close = (made(spectrograms[:count]) - wanted[:count]).abs().max() / wanted.abs().max()
                assert close < 1e-5


def test_other_encoders_are_left_alone():
    encoder = make_encoder("BCRes1", 16)
    assert folded(encoder) is encoder
    assert isinstance(folded(make_encoder("Res8", 8)), Folded)
