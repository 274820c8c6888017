"""A cohort's file is read back, or what is wrong with it is said."""

import random

import numpy as np

from spotting.encoders.cohort import Cohort, pack, unpack


def test_a_damaged_file_is_told_never_a_traceback():
    rng, windows = random.Random(0), np.eye(8).repeat(40, axis=0)
    whole, refused = pack(windows, [str(i) for i in range(320)], "f"), 0
    assert np.allclose(unpack(whole, "f", 8).embeddings, windows)
    for _ in range(300):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        found = unpack(bytes(content), "f", 8)
        assert isinstance(found, Cohort | str)
        refused += isinstance(found, str)
    assert refused > 150
