"""Reading a .npz file that may be damaged."""

from typing import IO

import numpy as np


def read_npz(file: IO[bytes]) -> dict[str, np.ndarray]:
    """All arrays of an open .npz file. Raises OSError where reading failed, ValueError for no .npz or a damaged one."""
    try:
        with np.load(file) as arrays:
            return dict(arrays)
    except OSError:
        raise
    except Exception as error:  # damage makes zipfile and NumPy raise nearly anything
        raise ValueError(f"no .npz file, or a damaged one: {error}") from error
