"""How long cells will take."""

import statistics
from collections.abc import Callable, Collection, Iterable

from experiments import cells
from experiments.cells import Cell
from experiments.results_file import Results

OVERHEAD = 30  # seconds a cell takes beside its steps, for the first estimate: start, looks, test


class Estimate:
    """Seconds that cells take: as measured on this machine in finished ones, before that from its arithmetic."""

    def __init__(self, results: Results, rate: Callable[[], float]):
        self.results, self.rate, self._rate = results, rate, None

    def chain(self, chain: Iterable[Cell], known: Collection[str]) -> float:
        """What is left to do of cells that share an encoder, which is trained once."""
        trained, seconds = set(known), 0.0
        for cell in chain:
            if cell.name in known:
                continue
            done = cell.method == "shots" and cell.encoder.name in trained
            seconds += OVERHEAD if done else self(cell)
            trained.add(cell.encoder.name)
        return seconds

    def __call__(self, cell: Cell) -> float:
        clips = cell.steps * cell.batch_classes * cell.per_class
        measured = [run["seconds"] / other.steps / other.batch_classes / other.per_class
                    for run in self.results.runs.values()
                    if _alike(other := cells.from_dict(run["cell"])) == _alike(cell)]
        if measured:
            return OVERHEAD + statistics.median(measured) * clips
        from models.encoders.build import make_encoder
        from models.roofline import multiply_adds

        self._rate = self._rate or self.rate()
        passes = 1 if cell.method == "head" else 3  # forward, and backward's two
        encoder = make_encoder(cell.model, cell.width, cell.embedding_size)
        # Half as long again as the products of matrices alone: BENCHMARKS.md.
        return OVERHEAD + 1.5 * passes * multiply_adds(encoder) * clips / self._rate


def _alike(cell: Cell) -> tuple:
    """What a step's time depends on, but for its clips."""
    return cell.model, cell.width, cell.method if cell.method in ("ce", "head") else "encoder"


def clock(seconds: float) -> str:
    """Hours and minutes."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
