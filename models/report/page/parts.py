"""What a page is made of: figures, tables, a matrix whose cells choose mistakes, pictures, and the mistakes."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np


@dataclass(frozen=True)
class Clip:
    """Something to listen to."""

    lines: tuple[str, ...]  # where it lies, for people
    sound: Callable[[], np.ndarray] | str  # gives it, (T,) int16 at 16 kHz; or a text, why there is none to hear
    key: Hashable  # of several clips with one key the page has one sound
    label: str | None = None  # what it is enrolled or trained as, shown beside it


@dataclass(frozen=True)
class Mistake:
    """A clip that was taken for something else, and the clip that it was compared with."""

    row: int  # of the matrix
    column: int
    values: tuple[tuple[float, str], ...]  # of the further columns: to sort by, to show
    clip: Clip
    nearest: Clip


@dataclass(frozen=True)
class Table:
    """Cells with their headings in the first row."""

    title: str
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Matrix:
    """Counts of what clips are against what they were taken for."""

    title: str
    caption: str
    counts: dict[tuple[int, int], int]  # by (row, column); what is not there is 0
    right: dict[int, int]  # the column of each row that is no mistake
    shown: tuple[Sequence[int], Sequence[int]]  # the rows and the columns to draw, in order


@dataclass
class Page:
    """A test's page."""

    title: str
    about: str
    tiles: list[tuple[str, str]]  # the most important figures, name and value
    headings: dict[str, str | list[str]]  # of the mistakes' table: clip, row, column, nearest, and those of the values
    rows: dict[int, str]  # names of the matrix' rows, by number
    columns: dict[int, str]
    matrix: Matrix
    mistakes: list[Mistake]  # of each cell the surest first
    origin: list[tuple[str, str]]  # where the figures are from, name and value
    notes: list[str] = field(default_factory=list)  # what a reader must know before using a figure
    tables: list[Table] = field(default_factory=list)
    pictures: list[tuple[str, bytes, str]] = field(default_factory=list)  # title, PNG, description
    explained: str = ""  # what comes before the mistakes
    elsewhere: str = ""  # what has all mistakes, if some are left out here
    unlisted: dict[tuple[int, int], int] = field(default_factory=dict)  # further mistakes by row and column

    def count(self) -> dict[tuple[int, int], int]:
        """How many mistakes there are, listed or not, by row and column."""
        return dict(Counter((m.row, m.column) for m in self.mistakes) + Counter(self.unlisted))


_PICTURES = {
    "det": ("What is missed against what is falsely accepted",
            "Detection-error curves: per cent of the enrolled words' clips rejected against per cent of the unknown "
            "words' clips accepted, a line for each method and number of enrolled clips"),
    "curve": ("What is missed against false alarms an hour",
              "A line for each word: per cent of its recordings missed against false alarms an hour"),
    "map": ("The embeddings: clips that the encoder finds alike lie together (t-SNE; axes and sizes of gaps mean "
            "nothing)", "A map of the clips' embeddings in two dimensions, a colour and a shape for each class"),
    "distances": ("How far apart two clips of the same word lie, and two of different words",
                  "Two histograms of squared distances, of same-word pairs and of different-word pairs"),
}


def named(pictures: dict[str, bytes]) -> list[tuple[str, bytes, str]]:
    """Title, PNG and description of pictures by name: det, curve, map, distances."""
    return [(_PICTURES[name][0], png, _PICTURES[name][1]) for name, png in pictures.items()]


def in_turn(mistakes: Sequence[Mistake]) -> list[Mistake]:
    """The mistakes in the order in which they get room: the first of every kind, the most frequent kind first, then the
    second of every kind, and so on; of a kind in the order given."""
    kinds: dict[tuple[int, int], list[Mistake]] = {}
    for mistake in mistakes:
        kinds.setdefault((mistake.row, mistake.column), []).append(mistake)
    frequent = sorted(kinds.values(), key=len, reverse=True)
    return [mistake for turn in zip_longest(*frequent) for mistake in turn if mistake is not None]
