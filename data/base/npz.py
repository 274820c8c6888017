"""Reading a .npz file that may be damaged."""

from typing import IO

import numpy as np


def read_npz(file: IO[bytes]) -> dict[str, np.ndarray]:
    """All arrays of an open .npz file.

    Raises:
        OSError: reading failed.
        ValueError: the file is no .npz, or is damaged.
    """
    try:
        with np.load(file) as arrays:
            return dict(arrays)
    except OSError:
        raise
    # Nearly anything: zipfile raises BadZipFile, zlib.error, EOFError, NotImplementedError (a method of compression
    # that there is not) and RuntimeError (a password that there is not), NumPy's reading of an array's header
    # ValueError, TypeError, SyntaxError and tokenize.TokenError, and a shape of terabytes MemoryError.
    except Exception as error:
        raise ValueError(f"no .npz file, or a damaged one: {error}") from error
