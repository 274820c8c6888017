"""An encoder that a run left, by the scripts' flags or by a path."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from data.base.errors import UserError
from models.runs.checkpoints import MODEL_OF, Run, load_module, load_state, parts_of
from models.runs.options.common import MODELS
from models.runs.session import CLIP_SECONDS, check_fixed

if TYPE_CHECKING:
    import torch
    from torch import nn

    from models.encoders.waveform import WaveformEncoder

_CHECKPOINT = re.compile(r"([\w.]+)-STEP-(0|[1-9][0-9]{0,17})\.pt")


def load_encoder(source: str | Path, step: int | None = None, model: str | None = None,
                 device: str | torch.device = "cpu") -> WaveformEncoder:
    """An encoder in evaluation mode: waveforms in, unit embeddings out.

    Args:
        source: a run's folder, or the path of a checkpoint, ``.../checkpoints/<Model>-STEP-<n>.pt``.
        step: of a run's checkpoint; None takes the newest.
        model: of a run's checkpoint; None takes what its configuration says, or the only one that it has.

    Raises:
        UserError: no such run, step or checkpoint, or one that this version cannot load.
    """
    from models.encoders.waveform import WaveformEncoder

    run, model, step = find_checkpoint(source, step, model)
    args = Namespace(model=model, clip_seconds=None, compression=None, hidden_size=None, embedding_size=None)
    config = find_encoder(args, run, step)
    encoder = WaveformEncoder(build_encoder(args, run, step, config), args.clip_seconds, args.compression)
    return encoder.to(device).eval()


def find_checkpoint(source: str | Path, step: int | None = None, model: str | None = None,
                    flag: str = "step") -> tuple[Run, str, int]:
    """The run, model and step of a run's folder, or of a checkpoint's path; arguments and errors as in `load_encoder`.

    Args:
        flag: what names the step, for messages.
    """
    path = Path(source)
    if named := _CHECKPOINT.fullmatch(path.name):
        found = MODEL_OF.get(named[1], named[1])
        for what, given, fixed in (("--model", model, found), (flag, step, int(named[2]))):
            check_fixed(what, given, fixed, f"{path}, which is of")
        model, step, path = found, int(named[2]), path.absolute().parent.parent
        if path / "checkpoints" != Path(source).absolute().parent:
            raise UserError(f"{source}: a checkpoint lies in a run's folder checkpoints/; put it there")
    path = path.absolute()
    if not path.is_dir():
        raise UserError(f"{source}: no folder of a run, nor a checkpoint Model-STEP-n.pt; check the name")
    run = Run(path.parent, path.name, "run")
    config = run.config()
    if model is None:
        saved = [name for name in MODELS if run.steps(name)]
        model = config.get("model") or (saved[0] if len(saved) == 1 else None)
    if model is None:
        raise UserError(f"{path}: no run with a checkpoint of {', '.join(MODELS)}; check the name" if not saved else
                        f"{path}: has checkpoints of {', '.join(saved)}; say which by model")
    if model not in MODELS:
        raise UserError(f"{path}: model {model!r} is none of {', '.join(MODELS)}")
    return run, model, run.step(model, step, flag)


def find_initial(args: Namespace) -> tuple[Run, int, dict] | None:
    """The run, step and configuration of the encoder that --init_from names, `find_encoder` applied; None without it.

    It names a run under --runs_dir, a run's folder, or a checkpoint's path; a run may be followed by :STEP.
    """
    if args.init_from is None:
        return None
    run, _, step = initial_checkpoint(args.init_from, args.runs_dir, args.model)
    return run, step, find_encoder(args, run, step)


def initial_checkpoint(init_from: str, runs_dir: str | Path, model: str | None = None) -> tuple[Run, str, int]:
    """The run, model and step that --init_from names; ``model`` as in `load_encoder`."""
    name, colon, number = init_from.rpartition(":")
    source, step = (name, int(number)) if colon and re.fullmatch("[0-9]{1,18}", number) else (init_from, None)
    if os.sep not in source:
        Run(runs_dir, source, "--init_from")  # as every name of a run
        source = Path(runs_dir) / source
    return find_checkpoint(source, step, model, "--init_from")


def find_encoder(args: Namespace, run: Run, step: int) -> dict:
    """Fill in an encoder's sizes, ``clip_seconds`` and ``compression`` in ``args`` from its run.

    Returns:
        the run's configuration ({} for a run without one, as the published encoders).

    Raises:
        UserError: a flag contradicts the configuration or the checkpoint.
    """
    config, where = run.config(), f"run {run.name!r}, which has"
    if "model" in config:
        check_fixed("--model", args.model, config["model"], where)
    if "clip_seconds" in config:
        check_fixed("--clip_seconds", args.clip_seconds, config["clip_seconds"], where)
    args.clip_seconds = config.get("clip_seconds", args.clip_seconds or CLIP_SECONDS)
    compression = config.get("frontend", {}).get("compression", "log")  # `build_encoder` holds it to what there is
    check_fixed("--compression", getattr(args, "compression", None), compression, where)
    args.compression = compression
    path = run.path(args.model, step)
    width = config.get("hidden_size") or saved_width(run.paths(args.model, step)[-1], args.model)
    check_fixed("--hidden_size", args.hidden_size, width, where)
    embedding = config.get("embedding_size") or (width if "hidden_size" in config else saved_embedding(path, width))
    check_fixed("--embedding_size", args.embedding_size, embedding, where)
    args.hidden_size, args.embedding_size = width, embedding
    args.filters = config.get("filters") or (saved_filters(path) if args.model == "Quartz" else None)
    return config


def saved_width(path: Path, model: str) -> int:
    """A saved encoder's --hidden_size, from its weights."""
    name = {"Res8": "conv0.weight", "Res15": "conv0.weight", "Quartz": "weight"}.get(model, "project.weight")
    rows = _rows(path, name)
    if rows is None:
        raise UserError(f"{path}: not a checkpoint of {model}; check --model")
    return rows


def saved_embedding(path: Path, width: int) -> int:
    """The embedding's size D, from the weights of a saved encoder of ``width``, which it is without a projection."""
    return _rows(path, "project.weight") or width


def _rows(path: Path, key: str) -> int | None:
    """How many rows an entry of a checkpoint has; None for one that is not there, or is no tensor with rows."""
    shape = getattr(load_state(path).get(key), "shape", None)
    return shape[0] or None if shape else None


def saved_filters(path: Path) -> int:
    """Filters of the last block of a saved QuartzNet."""
    convolutions = [weight for weight in load_state(path).values() if getattr(weight, "ndim", None) == 3]
    if not convolutions:
        raise UserError(f"{path}: not a checkpoint of Quartz; check --model")
    return len(convolutions[-1])


def build_encoder(args: Namespace, run: Run, step: int, config: dict) -> nn.Module:
    """The encoder that `find_encoder` found, on the CPU."""
    from models.encoders.build import encoder_of
    from models.encoders.frontend import settings

    if config.get("frontend", settings("log")) != (ours := settings(args.compression)):
        raise UserError(f"{run.folder / 'config.json'}: trained with the front end {config['frontend']}, this version "
                        f"has {ours}; use the version it was trained with")
    encoder = encoder_of(args)
    for part, name in parts_of(args.model).items():
        load_module(run.path(part, step), encoder.get_submodule(name), part)
    return encoder
