"""What a page is made of: figures, tables, a matrix whose cells choose mistakes, pictures, and the mistakes."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Clip:
    """Something to listen to.

    Attributes:
        lines: where it lies, for people.
        sound: gives it, (T,) int16 at 16 kHz; or a text, why there is none to hear.
        key: of several clips with one key the page has one sound.
        label: what it is enrolled or trained as, shown beside it; None shows none.
    """

    lines: tuple[str, ...]
    sound: Callable[[], np.ndarray] | str
    key: Hashable
    label: str | None = None


@dataclass(frozen=True)
class Mistake:
    """A clip of the matrix's cell (row, column), the further columns' values (to sort by, to show), and the clip that
    it was compared with."""

    row: int
    column: int
    values: tuple[tuple[float, str], ...]
    clip: Clip
    nearest: Clip


@dataclass(frozen=True)
class Table:
    """Cells with their headings in the first row."""

    title: str
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Matrix:
    """Counts of what clips are against what they were taken for.

    Attributes:
        counts: by (row, column); what is not there is 0.
        right: the column of each row that is no mistake.
        shown: the rows and the columns to draw, in order.
    """

    title: str
    caption: str
    counts: dict[tuple[int, int], int]
    right: dict[int, int]
    shown: tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True)
class Picture:
    title: str
    png: bytes
    alt: str


@dataclass
class Page:
    """A test's page.

    Attributes:
        tiles: the most important figures, name and value.
        headings: of the mistakes' table: clip, row, column, nearest, and a list, those of the values.
        rows, columns: names of the matrix' rows and columns, by number.
        mistakes: all of them, of each cell the surest first.
        origin: where the figures are from, name and value.
        notes: what a reader must know before using a figure.
        explained: what comes before the mistakes.
        elsewhere: what has all mistakes, if some are left out here.
        unlisted: how many more mistakes there are than those listed, by row and column.
    """

    title: str
    about: str
    tiles: list[tuple[str, str]]
    headings: dict[str, str | list[str]]
    rows: dict[int, str]
    columns: dict[int, str]
    matrix: Matrix
    mistakes: list[Mistake]
    origin: list[tuple[str, str]]
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    explained: str = ""
    elsewhere: str = ""
    unlisted: dict[tuple[int, int], int] = field(default_factory=dict)

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


def named(pictures: dict[str, bytes]) -> list[Picture]:
    """PNGs with their titles, by name: det, curve, map, distances."""
    return [Picture(_PICTURES[name][0], png, _PICTURES[name][1]) for name, png in pictures.items()]


def in_turn(mistakes: Sequence[Mistake]) -> list[Mistake]:
    """The mistakes in the order in which they get room: the first of every kind, the most frequent kind first, then the
    second of every kind, and so on; of a kind in the order given."""
    kinds = Counter((m.row, m.column) for m in mistakes)
    place, turn, order = {kind: i for i, (kind, _) in enumerate(kinds.most_common())}, Counter(), []
    for i, mistake in enumerate(mistakes):
        kind = mistake.row, mistake.column
        order.append((turn[kind], place[kind], i))
        turn[kind] += 1
    return [mistakes[i] for *_, i in sorted(order)]
