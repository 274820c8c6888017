"""The front end written so that it can be exported is the front end."""

import pytest
import torch

from models.encoders.frontend import LogMel
from spotting.encoders.plain import PlainLogMel, log1p
from tests.spotting.test_export import clips


@pytest.mark.parametrize("compression", ["log", "pcen"])
@pytest.mark.parametrize("samples", [16_000, 15_999, 8_000, 12_345, 24_000])
def test_the_plain_front_end_is_the_front_end(samples, compression):
    x = torch.from_numpy(clips(6, samples)).double() / 32768
    assert x.shape[1] == samples
    frontend = LogMel(compression).eval().double()
    plain, wanted = PlainLogMel(frontend, samples)(x), frontend(x)
    assert plain.shape == wanted.shape
    assert torch.allclose(plain, wanted, atol=1e-7)


def test_a_logarithm_of_little_more_than_one_is_exact():
    x = torch.cat([torch.zeros(1), torch.logspace(-30, 8, 4001)])
    wanted = torch.log1p(x.double())
    assert ((log1p(x).double() - wanted).abs() <= 4e-7 * wanted).all()
