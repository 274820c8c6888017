"""The cells of a comparison: what is trained and tested, the name of its result, and the scripts' flags."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

from models.runs.options.training import LOSSES

METHODS = ("ce", "knn", "head", "shots")
_AFTER = {"knn": "kNN", "head": "head", "shots": "enrolled words"}  # what an encoder's loss is followed by
OF_LOSS = ("loss", "data_probs", "shares", "mining", "margin")  # cross-entropy has one cell for all values of these
# Defaults of the losses that have a margin. Published results have two of losses that are no longer here.
MARGINS = {"triplet": 0.5, "am_softmax": 0.2, "subcenter_arcface": 0.5}
LOSS_EXTRAS = {flag for takes in LOSSES.values() for flag in takes} - set(OF_LOSS)  # of --extra: each loss gets its own


@dataclass(frozen=True)
class Cell:
    """One training, or what is done with another cell's encoder, and its test.

    The method ``ce`` trains encoder and head together; ``knn`` trains an encoder, and its training clips vote; ``head``
    trains a softmax head on that encoder; ``shots`` enrols words with it that it never heard.
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
    extra: tuple[str, ...] = ()  # further flags of both training scripts and of the loss, as ("--lr=1e-3",)
    loss: str = "triplet"
    shares: tuple[float, ...] = ()
    words: str = ""  # of ``shots``, the name of the protocol (`experiments.compare.protocol_of`)

    @property
    def name(self) -> str:
        """What every cell has, then what differs from the defaults: a result's key."""
        parts = [self.manifest, self.model, self.method, f"{self.steps}x{self.batch_classes}x{self.per_class}",
                 *[self.loss] * (self.loss != "triplet"), *[self.recipe] * (self.recipe != "fast"),
                 *["augment"] * self.augment]
        for name in ("fraction", "width", "data_probs", "shares", "mining", "margin"):
            value = getattr(self, name)
            if value != (MARGINS.get(self.loss, Cell.margin) if name == "margin" else getattr(Cell, name)):
                values = value if isinstance(value, tuple) else [value]
                parts.append(name + "_".join(f"{one:g}" if isinstance(one, float) else str(one) for one in values))
        parts += [flag.lstrip("-").replace("=", "").replace("/", "_") for flag in self.extra]
        return "-".join(filter(None, [*parts, self.words, f"seed{self.seed}"]))

    @property
    def title(self) -> str:
        return "cross-entropy" if self.method == "ce" else f"{self.loss.replace('_', ' ')} + {_AFTER[self.method]}"

    @property
    def data(self) -> str:
        """The name that the cell's data are registered under; a share of joined sets is these sets' shares, joined."""
        return self.manifest if self.fraction == 1 else "+".join(
            f"{part}-{self.fraction:g}" for part in self.manifest.split("+"))

    @property
    def encoder(self) -> Cell:
        """The cell whose run has the encoder: often this one."""
        return self.of("knn") if self.method in ("head", "shots") else self

    def of(self, method: str) -> Cell:
        """The same setting by another method, without what this method or the loss does not take."""
        takes = () if method == "ce" else LOSSES.get(self.loss, ("margin",))
        drop = OF_LOSS if method == "ce" else {"mining", "margin"} - set(takes)
        return replace(self, method=method, words=self.words if method == "shots" else "",
                       **{name: getattr(Cell, name) for name in drop},
                       extra=tuple(flag for flag in self.extra if flag_name(flag) not in LOSS_EXTRAS - set(takes)))

    def to_dict(self) -> dict:
        """For JSON, without the defaults of what came later, so that older files stay as they are."""
        return {name: value for name, value in vars(self).items()
                if name not in ("loss", "shares", "words") or value != getattr(Cell, name)}


def from_dict(values: dict) -> Cell:
    return Cell(**values | {name: tuple(values.get(name, ())) for name in ("extra", "shares")})


def flag_name(flag: str) -> str:
    """``lr`` of ``--lr=1e-3``."""
    return flag.lstrip("-").split("=")[0]


def grid(methods: Iterable[str], **axes: Iterable) -> list[Cell]:
    """Every cell once, by any fields' values, the first field's varying least; a ``margin`` of None is the loss's."""
    found = {}
    for combination in product(*axes.values()):
        values = dict(zip(axes, combination, strict=True))
        if values.get("margin", 0) is None:
            values["margin"] = MARGINS.get(values.get("loss", Cell.loss), Cell.margin)
        for method in sorted(methods, key=METHODS.index):
            found[Cell(method=method, **values).of(method)] = None
    return list(found)


def train_command(cell: Cell, more: Iterable[str] = (), tag: str = "") -> list[str]:
    """Script and flags that train a cell; of ``shots``, its encoder. ``tag`` ends the names of runs."""
    cell = cell.encoder if cell.method == "shots" else cell
    flags = [f"--name={cell.name}{tag}", f"--manifest={cell.data}", f"--model={cell.model}", f"--recipe={cell.recipe}",
             f"--num_steps={cell.steps}", f"--batch_classes={cell.batch_classes}", f"--per_class={cell.per_class}",
             f"--seed={cell.seed}", *["--augment"] * cell.augment]
    if cell.method == "head":
        # A frozen encoder's recipe shifts no clips; here all methods get the recipe's shift.
        shift = not (cell.augment or "--no-shift" in cell.extra or cell.recipe == "paper")
        return ["TripletClassifier.py", *flags, *(flag for flag in cell.extra if flag_name(flag) not in LOSS_EXTRAS),
                *["--shift"] * shift, f"--enc_name={cell.encoder.name}{tag}", *more]
    flags += [*cell.extra, f"--hidden_size={cell.width}"]
    if cell.method == "ce":
        return ["TripletClassifier.py", *flags, *more]
    flags += [f"--data_probs={cell.data_probs}", *[f"--loss={cell.loss}"] * (cell.loss != "triplet")]
    flags += ["--shares", *(f"{share:g}" for share in cell.shares)] if cell.shares else []
    flags += [f"--{name}={value:g}" if isinstance(value := getattr(cell, name), float) else f"--{name}={value}"
              for name in ("mining", "margin") if name in LOSSES.get(cell.loss, ())]
    return ["TripletEncoder.py", *flags, *more]


def test_command(cell: Cell, more: Iterable[str] = (), tag: str = "", manifest: str | None = None) -> list[str]:
    """Script and flags that test it; ``manifest`` where that is another than the cell's data."""
    flags = [f"--name={cell.encoder.name}{tag}", f"--manifest={manifest or cell.data}", f"--model={cell.model}",
             f"--enc_step={cell.steps}"]
    if cell.method in ("knn", "shots"):
        return ["infer_train.py", *flags, *more]
    return ["infer_notl.py", *flags, f"--cl_name={cell.name}{tag}", f"--cl_step={cell.steps}", *more]
