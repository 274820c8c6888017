"""The cells of a comparison: what is trained and tested, the name of its run, and the scripts' flags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from models.runs.options.loss import LOSSES

if TYPE_CHECKING:
    from experiments.protocol import Protocol

METHODS = ("ce", "knn", "head", "shots")
_AFTER = {"knn": "kNN", "head": "head", "shots": "enrolled words"}  # what an encoder's loss is followed by
# What only an encoder that is trained by itself depends on: cross-entropy has one cell for all of these.
OF_LOSS = ("loss", "data_probs", "shares", "mining", "margin")
# Of --extra, what the losses take and the grid has no axis for: cells get those of their own loss.
LOSS_EXTRAS = {flag for takes in LOSSES.values() for flag in takes} - set(OF_LOSS)
_LATER = ("loss", "shares", "embedding_size", "words")  # left out of results where they are not used, as ever before


@dataclass(frozen=True)
class Cell:
    """One training, or what is done with another cell's encoder, and its test.

    Attributes:
        method: ``ce`` trains encoder and head together with cross-entropy; ``knn`` an encoder with a loss of its own,
            whose training clips vote; ``head`` a softmax head on the ``knn`` cell's encoder, frozen; ``shots`` enrols
            words that this encoder never heard.
        steps: of every method, each with ``batch_classes`` x ``per_class`` clips.
        fraction: share of the training clips of each class.
        margin: of the losses that have one.
        extra: further flags of both training scripts, as ``("--lr=1e-3",)``, and of the loss.
        shares: of a batch's classes, by joined data set; () for all words alike.
        embedding_size: None for the width.
        words: of ``shots``, the name of `experiments.protocol.Protocol` that says which words and how.
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
    loss: str = "triplet"
    shares: tuple[float, ...] = ()
    embedding_size: int | None = None
    words: str = ""

    @property
    def name(self) -> str:
        """The result's, and its run's but for ``shots``: what every cell has, then what differs from the default."""
        batch, *changes = self.setting
        return "-".join([self.manifest, self.model, self.method, f"{self.steps}x{batch}", *changes,
                         *[self.words] * bool(self.words), f"seed{self.seed}"])

    @property
    def setting(self) -> list[str]:
        """Its batches, then what differs from the default."""
        parts = [f"{self.batch_classes}x{self.per_class}"]
        parts += [self.loss] * (self.loss != "triplet")
        parts += [self.recipe] * (self.recipe != "fast") + ["augment"] * self.augment
        usual = {field.name: field.default for field in fields(self)} | {
            "margin": LOSSES[self.loss].get("margin", Cell.margin)}
        for name in ("fraction", "width", "embedding_size", "data_probs", "shares", "mining", "margin"):
            value = getattr(self, name)
            if value != usual[name]:
                said = "_".join(f"{share:g}" for share in value) if name == "shares" else \
                    f"{value:g}" if isinstance(value, float) else value
                parts.append(f"{name}{said}")
        return parts + [flag.lstrip("-").replace("=", "").replace("/", "_") for flag in self.extra]

    @property
    def title(self) -> str:
        """Its loss and what follows, for a reader."""
        return "cross-entropy" if self.method == "ce" else f"{self.loss.replace('_', ' ')} + {_AFTER[self.method]}"

    @property
    def data(self) -> str:
        """The name that the cell's data are registered under; a share of joined sets is these sets' shares, joined."""
        if self.fraction == 1:
            return self.manifest
        from data.joined import JOIN

        return JOIN.join(f"{part}-{self.fraction:g}" for part in self.manifest.split(JOIN))

    @property
    def encoder(self) -> Cell:
        """The cell whose run has the encoder: often this one."""
        return self.of("knn") if self.method in ("head", "shots") else self

    @property
    def run(self) -> str:
        """The name of the run that testing this cell writes to."""
        return self.encoder.name if self.method == "shots" else self.name

    def of(self, method: str) -> Cell:
        """The same setting by another method, without what that has no use for.

        Cross-entropy's has the default loss of an encoder; a loss has the flags that it takes.
        """
        usual = {field.name: field.default for field in fields(self)}
        takes = () if method == "ce" else LOSSES[self.loss]
        drop = OF_LOSS if method == "ce" else {"mining", "margin"} - set(takes)
        cell = replace(self, method=method, **{name: usual[name] for name in drop},
                       extra=tuple(flag for flag in self.extra if flag_name(flag) not in LOSS_EXTRAS - set(takes)))
        if method != "shots":
            cell = replace(cell, words="")
        if cell.model not in ("Res8", "Res15"):  # have channels of their own: both are the embedding's size
            return replace(cell, width=cell.embedding_size or cell.width, embedding_size=None)
        return replace(cell, embedding_size=None) if cell.embedding_size == cell.width else cell

    def row(self) -> Cell:
        """What the seeds of one row of the table share."""
        return replace(self, seed=0)


def flag_name(flag: str) -> str:
    """``lr`` of ``--lr=1e-3``."""
    return flag.lstrip("-").split("=")[0]


def grid(manifest: str, models: Iterable[str], methods: Iterable[str], steps: Iterable[int], seeds: Iterable[int],
         **axes: Iterable) -> list[Cell]:
    """Every cell once, in the order to run them in: little before much, and all methods of a seed before the next.

    Args:
        axes: values of any other fields of `Cell`; those that are the same for all cells as one-element lists. A
            ``margin`` of None is the default of the cell's loss.
    """
    cells = {}
    for step_count, seed, model, combination in product(sorted(steps), seeds, models, product(*axes.values())):
        values = dict(zip(axes, combination, strict=True))
        if values.get("margin", 0) is None:
            values["margin"] = LOSSES[values.get("loss", Cell.loss)].get("margin", Cell.margin)
        for method in sorted(methods, key=METHODS.index):
            cells[Cell(manifest, model, method, step_count, seed, **values).of(method)] = None
    return list(cells)


def chains(cells: Iterable[Cell]) -> Iterator[list[Cell]]:
    """Cells that must follow one another, as what shares an encoder does.

    A head comes after the encoder's own cell, asked for or not.
    """
    found: dict[Cell, list[Cell]] = {}
    for cell in cells:
        chain = found.setdefault(cell.encoder, [])
        if cell.method == "head" and cell.encoder not in chain:
            chain.append(cell.encoder)
        if cell not in chain:
            chain.append(cell)
    for chain in found.values():
        yield sorted(chain, key=lambda cell: METHODS.index(cell.method))


def train_command(cell: Cell, common: list[str]) -> list[str]:
    """Script and flags that train a cell; ``common`` are flags of this machine, such as ``--runs_dir``."""
    if cell.method == "shots":
        return train_command(cell.encoder, common)
    flags = [f"--name={cell.name}", f"--manifest={cell.data}", f"--model={cell.model}", f"--recipe={cell.recipe}",
             f"--num_steps={cell.steps}", f"--batch_classes={cell.batch_classes}", f"--per_class={cell.per_class}",
             f"--seed={cell.seed}"]
    if cell.method == "head":
        flags += [flag for flag in cell.extra if flag_name(flag) not in LOSS_EXTRAS]
    else:
        flags += cell.extra
    if cell.augment:
        flags.append("--augment")
    if cell.method == "head":
        # A frozen encoder's recipe shifts no clips; the comparison wants for all what their recipe has.
        shift = [] if cell.augment or "--no-shift" in cell.extra or cell.recipe == "paper" else ["--shift"]
        return ["TripletClassifier.py", *flags, *shift, f"--enc_name={cell.encoder.name}", *common]
    flags.append(f"--hidden_size={cell.width}")
    if cell.embedding_size:
        flags.append(f"--embedding_size={cell.embedding_size}")
    if cell.method == "ce":
        return ["TripletClassifier.py", *flags, *common]
    flags.append(f"--data_probs={cell.data_probs}")
    if cell.shares:
        flags += ["--shares", *(f"{share:g}" for share in cell.shares)]
    if cell.loss != "triplet":
        flags.append(f"--loss={cell.loss}")
    for name in ("mining", "margin"):
        if name in LOSSES[cell.loss]:
            value = getattr(cell, name)
            flags.append(f"--{name}={value:g}" if isinstance(value, float) else f"--{name}={value}")
    return ["TripletEncoder.py", *flags, *common]


def test_command(cell: Cell, common: list[str], protocol: Protocol | None = None) -> list[str]:
    """Script and flags that test it; ``protocol`` is that of ``cell.words``."""
    manifest = protocol.manifest if cell.method == "shots" else cell.data
    flags = [f"--name={cell.encoder.name}", f"--manifest={manifest}", f"--model={cell.model}",
             f"--enc_step={cell.steps}"]
    if cell.method == "shots":
        return ["infer_train.py", *flags, *protocol.flags, *common]
    if cell.method == "knn":
        return ["infer_train.py", *flags, "--save", *common]
    return ["infer_notl.py", *flags, f"--cl_name={cell.name}", f"--cl_step={cell.steps}", *common]


def to_dict(cell: Cell) -> dict:
    later = {field.name: field.default for field in fields(cell) if field.name in _LATER}
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(cell).items()}
    return {name: value for name, value in values.items() if getattr(cell, name) != later.get(name, ...)}


def from_dict(values: dict) -> Cell:
    return Cell(**values | {name: tuple(values.get(name, ())) for name in ("extra", "shares")})


def written_to(cell: Cell, runs_dir: Path, protocol: Protocol | None = None) -> Path:
    """The stem, with its folder, of the files that testing a cell writes."""
    if cell.method == "shots":
        stem = f"{protocol.stem}-{cell.model}-{cell.steps}"
    elif cell.method == "knn":
        stem = f"knn-{cell.data}-{cell.model}-{cell.steps}"
    else:
        stem = f"head-{cell.data}-{cell.model}-{cell.steps}-{cell.steps}"
    return runs_dir / cell.run / stem
