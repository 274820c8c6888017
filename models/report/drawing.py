"""What all pictures and tables need: names that can be shown, no noise of the drawing library, the PNG's bytes."""

import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from data.base.labels import visible

LONGEST = 24  # characters of a name in a picture


def short_names(labels: Iterable[str]) -> list[str]:
    """Names for a picture: of more than 24 characters, the beginning."""
    return [name if len(name) <= LONGEST else name[:LONGEST - 1] + "…" for name in map(visible, labels)]


@contextmanager
def quietly() -> Iterator[None]:
    """Draw without a word on scripts that the font lacks or that go from right to left; the JSON has the names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        warnings.filterwarnings("ignore", "Matplotlib currently does not support")
        yield


def markdown(rows: Sequence[Sequence[str]], first: str = "left") -> str:
    """Rows of cells, the first being the head, as a Markdown table; ``first`` is how the first column is aligned."""
    from tabulate import tabulate

    return tabulate(rows, "firstrow", "pipe", disable_numparse=True, colalign=[first] + ["right"] * (len(rows[0]) - 1))


def png(figure) -> bytes:
    """A figure, and all that is drawn around its axes."""
    data = io.BytesIO()
    with quietly():
        figure.savefig(data, format="png", dpi=130, bbox_inches="tight", pad_inches=0.15)
    return data.getvalue()
