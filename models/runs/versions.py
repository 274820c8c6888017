"""What a figure was made with."""

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("torch", "nemo-toolkit", "lightning", "faiss-cpu", "numpy", "soundfile", "soxr", "scikit-learn")


def versions() -> dict[str, str]:
    """Of Python and of the packages that bear on a figure."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
