"""The cells of a comparison: what is trained and tested, the name of its run, and the scripts' flags."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path

METHODS = ("ce", "knn", "head")
TITLES = {"ce": "cross-entropy", "knn": "triplet + kNN", "head": "triplet + head"}
# What only an encoder's triplets depend on: cross-entropy has one cell for all of these.
OF_TRIPLETS = ("data_probs", "mining", "margin")


@dataclass(frozen=True)
class Cell:
    """One training, or a head on another cell's encoder, and its test.

    Attributes:
        method: ``ce`` trains encoder and head together with cross-entropy; ``knn`` an encoder with the triplet loss,
            whose training clips vote; ``head`` a softmax head on the ``knn`` cell's encoder, frozen.
        steps: of every method, each with ``batch_classes`` x ``per_class`` clips.
        fraction: share of the training clips of each class.
        extra: further flags of both training scripts, as ``("--lr=1e-3",)``.
    """

    manifest: str
    model: str
    method: str
    steps: int
    seed: int
    batch_classes: int = 35
    per_class: int = 10
    recipe: str = "fast"
    augment: bool = False
    fraction: float = 1.0
    width: int = 45
    data_probs: int = 0
    mining: str = "random"
    margin: float = 0.5
    extra: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The run's: what every cell has, then what differs from the default."""
        batch, *changes = self.setting
        return "-".join([self.manifest, self.model, self.method, f"{self.steps}x{batch}", *changes,
                         f"seed{self.seed}"])

    @property
    def setting(self) -> list[str]:
        """Its batches, then what differs from the default."""
        parts = [f"{self.batch_classes}x{self.per_class}"]
        parts += [self.recipe] * (self.recipe != "fast") + ["augment"] * self.augment
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("fraction", "width", *OF_TRIPLETS) and value != field.default:
                parts.append(f"{field.name}{value:g}" if isinstance(value, float) else f"{field.name}{value}")
        return parts + [flag.lstrip("-").replace("=", "").replace("/", "_") for flag in self.extra]

    @property
    def data(self) -> str:
        """The name that the cell's data are registered under."""
        return self.manifest if self.fraction == 1 else f"{self.manifest}-{self.fraction:g}"

    def of(self, method: str) -> "Cell":
        """The same setting by another method; cross-entropy's has the default triplets."""
        cell = replace(self, method=method)
        if method != "ce":
            return cell
        return replace(cell, **{field.name: field.default for field in fields(cell) if field.name in OF_TRIPLETS})

    def row(self) -> "Cell":
        """What the seeds of one row of the table share."""
        return replace(self, seed=0)


def grid(manifest: str, models: Iterable[str], methods: Iterable[str], steps: Iterable[int], seeds: Iterable[int],
         **axes: Iterable) -> list[Cell]:
    """Every cell once, in the order to run them in: little before much, and all methods of a seed before the next.

    Args:
        axes: values of any other fields of `Cell`; those that are the same for all cells as one-element lists.
    """
    cells = {}
    for step_count, seed, model, values in product(sorted(steps), seeds, models, product(*axes.values())):
        for method in sorted(methods, key=METHODS.index):
            cell = Cell(manifest, model, method, step_count, seed, **dict(zip(axes, values, strict=True)))
            cells[cell.of(method)] = None
    return list(cells)


def chains(cells: Iterable[Cell]) -> Iterator[list[Cell]]:
    """Cells that must follow one another: a head comes after the encoder it is trained on, asked for or not."""
    found: dict[Cell, list[Cell]] = {}
    for cell in cells:
        root = cell.of("knn") if cell.method == "head" else cell
        chain = found.setdefault(root, [root])
        if cell != root:
            chain.append(cell)
    yield from found.values()


def train_command(cell: Cell, common: list[str]) -> list[str]:
    """Script and flags that train a cell; ``common`` are flags of this machine, such as ``--runs_dir``."""
    flags = [f"--name={cell.name}", f"--manifest={cell.data}", f"--model={cell.model}", f"--recipe={cell.recipe}",
             f"--num_steps={cell.steps}", f"--batch_classes={cell.batch_classes}", f"--per_class={cell.per_class}",
             f"--seed={cell.seed}", *cell.extra]
    if cell.augment:
        flags.append("--augment")
    if cell.method == "head":
        # A frozen encoder's recipe shifts no clips; the comparison wants for all what their recipe has.
        shift = [] if cell.augment or "--no-shift" in cell.extra or cell.recipe == "paper" else ["--shift"]
        return ["TripletClassifier.py", *flags, *shift, f"--enc_name={cell.of('knn').name}", *common]
    flags.append(f"--hidden_size={cell.width}")
    if cell.method == "ce":
        return ["TripletClassifier.py", *flags, *common]
    return ["TripletEncoder.py", *flags, f"--data_probs={cell.data_probs}", f"--mining={cell.mining}",
            f"--margin={cell.margin:g}", *common]


def test_command(cell: Cell, common: list[str]) -> list[str]:
    """Script and flags that test it."""
    encoder = cell.of("knn").name if cell.method == "head" else cell.name
    flags = [f"--name={encoder}", f"--manifest={cell.data}", f"--model={cell.model}", f"--enc_step={cell.steps}"]
    if cell.method == "knn":
        return ["infer_train.py", *flags, "--save", *common]
    return ["infer_notl.py", *flags, f"--cl_name={cell.name}", f"--cl_step={cell.steps}", *common]


def to_dict(cell: Cell) -> dict:
    return asdict(cell) | {"extra": list(cell.extra)}


def from_dict(values: dict) -> Cell:
    return Cell(**values | {"extra": tuple(values.get("extra", ()))})


def written_to(cell: Cell, runs_dir: Path) -> Path:
    """The stem, with its folder, of the files that testing a cell writes."""
    stem = f"knn-{cell.data}-{cell.model}-{cell.steps}" if cell.method == "knn" else \
        f"head-{cell.data}-{cell.model}-{cell.steps}-{cell.steps}"
    return runs_dir / cell.name / stem
