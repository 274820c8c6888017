"""What was saved is read, and of a damaged file nothing is said but that it is one."""

import io
import random

import numpy as np
import pytest

from data.base.npz import read_npz

ARRAYS = {"counts": np.arange(40, dtype=np.int64), "names": np.array(["a", "bc"]), "number": np.float32(2.5)}


def saved(save=np.savez, **arrays) -> bytes:
    content = io.BytesIO()
    save(content, **(arrays or ARRAYS))
    return content.getvalue()


def said(content: bytes) -> str | None:
    """What `read_npz` has against a file, None if nothing. Any other error than its own ends the test."""
    try:
        read_npz(io.BytesIO(content))
    except ValueError as error:
        assert "damaged" in str(error)
        return str(error)
    return None


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_was_saved_is_read(save):
    found = read_npz(io.BytesIO(saved(save)))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert np.array_equal(found[name], array) and found[name].dtype == array.dtype


def test_a_byte_here_or_there_is_another():
    rng, whole, refused = random.Random(0), saved(np.savez_compressed), 0
    for _ in range(500):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 2, 5))):
            content[rng.randrange(len(content))] = rng.randrange(256)
        refused += said(bytes(content)) is not None
    assert refused > 100
    for length in range(0, len(whole), 7):
        assert said(whole[:length])


def test_files_of_other_kinds():
    array = io.BytesIO()
    np.save(array, ARRAYS["counts"])
    for content in (b"", b"text", array.getvalue(), saved(objects=np.array(["a", None], object))):
        assert said(content)
