"""runs/<name>/: checkpoints named by training step, and the configuration they were made with.

``checkpoints/<Module>-STEP-<n>.pt`` is a module's plain state dict, as the original saved it; an encoder of several
parts has a file for each, and a step only where all of them are.
``checkpoints/trainer-STEP-<n>.pt`` is what a run needs beside its modules to go on. Nothing but tensors and plain
values is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import warnings
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from data.base.errors import UserError, out_of_memory
from data.base.files import check_name, file_digest, open_regular, read_json, write_atomically

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import nn

TRAINER = "trainer"
HEAD = "ClassificationNet"
PARTS = {"Quartz": {"JasperEncoder": "quartznet", "LinearLayer": "linear"}}  # files of a model: its submodules
MODEL_OF = {part: model for model, parts in PARTS.items() for part in parts}
# What config.json holds that is read again, see `data.base.files.misshapen`.
_CONFIG = {"script": str, "shipped": bool, "model": str, "hidden_size": int, "embedding_size": int, "filters": int,
           "clip_seconds": (int, float), "arguments": dict, "train_clips": int, "train_manifest": str,
           "labels": [str], "labels_before": [str], "frontend": dict, "frozen_encoder": bool, "init_from": str,
           "encoder_sha256": str, "threads": int, "processes": int}
_PACKAGES = ("torch", "nemo-toolkit", "lightning", "faiss-cpu", "numpy", "soundfile", "soxr", "scikit-learn")


def parts_of(module: str) -> dict[str, str]:
    """The names of a module's files, and which of its submodules each holds; "" is all of it."""
    return PARTS.get(module, {module: ""})


class Run:
    """One folder under ``runs_dir``; ``flag`` names it, for messages."""

    def __init__(self, runs_dir: str | Path, name: str, flag: str = "--name"):
        check_name(flag, name)
        self.name, self.flag = name, flag
        self.folder = Path(runs_dir) / name
        self.checkpoints = self.folder / "checkpoints"

    def path(self, module: str, step: int) -> Path:
        """A module's file, the first of several."""
        return self.paths(module, step)[0]

    def paths(self, module: str, step: int) -> list[Path]:
        return [self.checkpoints / f"{part}-STEP-{step}.pt" for part in parts_of(module)]

    def steps(self, module: str) -> list[int]:
        """The steps at which all of a module was saved, ascending."""
        names = [path.name for path in self.checkpoints.glob("*.pt")]
        saved = [{int(match[1]) for name in names
                  if (match := re.fullmatch(re.escape(part) + r"-STEP-(0|[1-9][0-9]*)\.pt", name))}
                 for part in parts_of(module)]
        return sorted(set.intersection(*saved))

    def begun(self) -> bool:
        """Whether it has a checkpoint: a name whose run never got so far is free."""
        return any(self.checkpoints.glob("*-STEP-*.pt"))

    def step(self, module: str, wanted: int | None, flag: str) -> int:
        """``wanted`` if it was saved, the newest step if None. Raises UserError listing what there is."""
        steps = self.steps(module)
        if not steps:
            raise UserError(f"{self.checkpoints}: no checkpoint of {module} in run {self.name!r}; train it first, or "
                            f"name another with {self.flag}")
        if wanted not in (None, *steps):
            raise UserError(f"{flag} {wanted}: run {self.name!r} has no such step of {module}; the newest it has: "
                            f"{', '.join(map(str, steps[-12:]))}")
        return steps[-1] if wanted is None else wanted

    def save(self, modules: dict[str, nn.Module], trainer: dict, step: int, keep: int) -> None:
        """Write every module's state dict and the trainer's state, then drop all but the ``keep`` newest steps. The
        trainer's file is written last, so a step that has one is complete."""
        import torch

        for name, state in [*((name, module.state_dict()) for name, module in modules.items()), (TRAINER, trainer)]:
            state = {key: value.contiguous() if isinstance(value, torch.Tensor) else value
                     for key, value in state.items()}  # channels-last weights too are saved in the plain layout
            with write_atomically(self.path(name, step), "wb") as file:
                torch.save(state, file)
        for old in self.steps(TRAINER)[:-keep]:
            for name in (TRAINER, *modules):
                self.path(name, old).unlink(missing_ok=True)

    def write_config(self, config: dict) -> None:
        with write_atomically(self.folder / "config.json") as file:
            json.dump(config, file, indent=2, ensure_ascii=False)
            file.write("\n")

    def config(self) -> dict:
        """What `write_config` wrote; empty for a run that has none, as the published encoders."""
        path = self.folder / "config.json"
        return read_json(path, "configuration of a run", "restore it, or remove it to give all flags",
                         _CONFIG) if os.path.lexists(path) else {}


def encoder_digest(path: Path) -> str:
    """SHA-256 of a checkpoint, in hexadecimal; of a module in several files, of all their digests."""
    name, step = path.name.split("-STEP-")
    digests = [file_digest(path.with_name(f"{part}-STEP-{step}")) for part in parts_of(MODEL_OF.get(name, name))]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def run_of(checkpoint: str | Path) -> Run | None:
    """The run in whose folder a checkpoint lies; None for one that lies in none."""
    folder = Path(checkpoint).parent
    inside = Path(checkpoint).suffix == ".pt" and folder.name == "checkpoints" and folder.parent.name
    return Run(folder.parent.parent, folder.parent.name, "run") if inside else None


def load_state(path: Path, way_out: str = "use another step, or train again") -> dict:
    """Read a file that `torch.save` wrote, old format or new, without running any code in it. Raises UserError, with a
    ``way_out``, if it is missing, no checkpoint, or damaged: torch does not check the new format's sums."""
    import torch

    try:
        with open_regular(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the old format's storage classes
            if file.read(4) == b"PK\3\4" and (damaged := zipfile.ZipFile(file).testzip()):
                raise ValueError(f"the checksum of {damaged!r} does not fit")
            file.seek(0)
            state = torch.load(file, map_location="cpu", weights_only=True)
            return state | {}  # a TypeError unless it is a state dict
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # damaged files make torch raise almost anything
        if out_of_memory(error):
            raise
        raise UserError(f"{path}: is damaged, no checkpoint, or holds more than weights, which was not loaded; "
                        f"{way_out}") from None


def load_module(path: Path, module: nn.Module, name: str, part: str | None = None) -> nn.Module:
    """Load a state dict, or ``part`` of a file that has more, into a module. Raises UserError if it is none of this
    module, or has weights that are not numbers."""
    found, wanted = load_state(path), module.state_dict()
    if part is not None:
        found = found.get(part)
        if not isinstance(found, dict):
            raise UserError(f"{path}: lacks what {name} had learnt; remove it to go on from the one before")
    for key in [*wanted, *found]:
        if key not in found or key not in wanted:
            raise UserError(f"{path}: not a checkpoint of {name} ({'lacks' if key in wanted else 'has'} {key!r}); "
                            "check --model")
        if (has := structure(found[key])) != (needed := structure(wanted[key].cpu())):
            raise UserError(f"{path}: {key!r} is {has}, {name} needs {needed}; check --model and --hidden_size, or use "
                            "another step")
    found = {key: value.to(wanted[key].dtype) for key, value in found.items()}
    if bad := not_finite(found):
        raise UserError(f"{path}: {bad!r} has values that are not numbers, as when a training diverged; use an earlier "
                        "step, or train again with a lower --lr")
    module.load_state_dict(found)
    return module


def structure(value: object) -> object:
    """What a saved value is made of, without its numbers; floating values of all lengths are alike."""
    import torch

    if isinstance(value, dict):
        return {key: structure(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [structure(v) for v in value]
    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    kind = "floating" if value.dtype in floats else value.dtype
    shape = "nested" if value.is_nested else tuple(value.shape)
    return f"{kind} {shape}, {value.layout}, {value.device.type}".replace("torch.", "")


def not_finite(state: dict) -> str | None:
    """The first tensor of a state dict with a value that is infinite or no number; waits for a GPU once."""
    import torch

    finite = {name: value.isfinite().all() for name, value in state.items()
              if isinstance(value, torch.Tensor) and value.is_floating_point()}
    fine = torch.stack(list(finite.values())).tolist() if finite else []
    return next((name for name, one in zip(finite, fine, strict=True) if not one), None)


def versions() -> dict[str, str]:
    """Of Python and of the packages that bear on a figure."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
