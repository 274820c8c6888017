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

    from models.encoders.build import WaveformEncoder

_CHECKPOINT = re.compile(r"([\w.]+)-STEP-(0|[1-9][0-9]{0,17})\.pt")


def load_encoder(source: str | Path, step: int | None = None, model: str | None = None,
                 device: str | torch.device = "cpu") -> WaveformEncoder:
    """An encoder in evaluation mode: waveforms in, unit embeddings out.

    Args:
        source: a run's folder, or the path of a checkpoint, ``.../checkpoints/<Model>-STEP-<n>.pt``.
        step, model: of a run's checkpoint; by default the newest, and what its configuration says or the only one.

    Raises UserError for no such run, step or checkpoint, or one that this version cannot load.
    """
    from models.encoders.build import WaveformEncoder

    run, model, step = find_checkpoint(source, step, model)
    args = Namespace(model=model, clip_seconds=None)
    config = find_encoder(args, run, step)
    encoder = WaveformEncoder(build_encoder(args, run, step, config), args.clip_seconds, args.compression)
    return encoder.to(device).eval()


def find_checkpoint(source: str | Path, step: int | None = None, model: str | None = None,
                    flag: str = "step") -> tuple[Run, str, int]:
    """The run, model and step of a run's folder or a checkpoint's path; arguments and errors as in `load_encoder`."""
    path = Path(source).absolute()
    if named := _CHECKPOINT.fullmatch(path.name):
        found = MODEL_OF.get(named[1], named[1])
        for what, given, fixed in (("--model", model, found), (flag, step, int(named[2]))):
            check_fixed(what, given, fixed, f"{path}, which is of")
        if path.parent.name != "checkpoints":
            raise UserError(f"{source}: a checkpoint lies in a run's folder checkpoints/; put it there")
        model, step, path = found, int(named[2]), path.parent.parent
    if not path.is_dir():
        raise UserError(f"{source}: no folder of a run, nor a checkpoint Model-STEP-n.pt; check the name")
    run = Run(path.parent, path.name, "run")
    if model is None:
        saved = [name for name in MODELS if run.steps(name)]
        model = run.config().get("model") or (saved[0] if len(saved) == 1 else None)
    if model not in MODELS:
        raise UserError(f"{path}: no run with checkpoints of one of {', '.join(MODELS)}; check the name, or say which "
                        "by model")
    return run, model, run.step(model, step, flag)


def find_initial(args: Namespace) -> tuple[Run, int, dict] | None:
    """The run, step and configuration of the encoder that --init_from names, `find_encoder` applied; None without it.
    It names a run under --runs_dir, a run's folder, or a checkpoint's path; a run may be followed by :STEP. Another
    --compression, --parts or --embedding_size than its own may be asked for; see `begin_with`."""
    if args.init_from is None:
        return None
    named = re.fullmatch(r"(.*?)(?::([0-9]{1,18}))?", args.init_from, re.S)
    source = named[1] if os.sep in named[1] else Run(args.runs_dir, named[1], "--init_from").folder
    run, _, step = find_checkpoint(source, named[2] and int(named[2]), args.model, "--init_from")
    asked = {name: getattr(args, name) for name in ("compression", "parts", "embedding_size", "clip_seconds")}
    for name in asked if asked["compression"] else ("parts", "embedding_size"):
        setattr(args, name, None)
    config = find_encoder(args, run, step)
    if asked["compression"] not in (None, args.compression):
        args.clip_seconds = None
    for name, value in asked.items():
        setattr(args, name, value or getattr(args, name))
    return run, step, config


def find_encoder(args: Namespace, run: Run, step: int) -> dict:
    """Fill in an encoder's sizes, ``clip_seconds`` and ``compression`` in ``args`` from its run. Returns the run's
    configuration, {} for the original's encoders. Raises UserError for a flag that contradicts it."""
    config = run.config()
    check_fixed("--model", args.model, config.get("model", args.model), f"run {run.name!r}, which has")
    width, embedding, filters, parts = saved_sizes(run.paths(args.model, step), args.model)
    fixed = {"clip_seconds": config.get("clip_seconds", args.clip_seconds or CLIP_SECONDS),
             "compression": config.get("frontend", {}).get("compression", "log"),  # `build_encoder` compares all of it
             "hidden_size": width, "embedding_size": embedding, "parts": parts}
    for flag, value in fixed.items():
        check_fixed(f"--{flag}", getattr(args, flag, None), value, f"run {run.name!r}, which has")
        setattr(args, flag, value)
    args.filters = filters
    return config


def saved_sizes(paths: list[Path], model: str) -> tuple[int, int, int | None, int]:
    """A saved encoder's --hidden_size, --embedding_size, filters of Quartz's last block, --parts: by its weights."""
    first, last = load_state(paths[0]), load_state(paths[-1])
    try:
        if model == "Quartz":
            width, filters = len(last["weight"]), [len(w) for w in first.values() if w.ndim == 3][-1]
            return width, width, filters, 1
        width, project = len(first["conv0.weight"]), first.get("project.weight")
        return (width, width, None, 1) if project is None else (width, len(project), None, project.shape[1] // width)
    except (KeyError, IndexError, AttributeError, TypeError):
        raise UserError(f"{paths[0]}: not a checkpoint of {model}; check --model") from None


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


def begin_with(args: Namespace, run: Run, step: int) -> tuple[nn.Module, bool]:
    """An encoder to train that begins with that of a run, and whether its projection is new: where its parts or sizes
    are other ones, only the convolutions are taken."""
    from models.encoders.build import encoder_of

    own = Namespace(model=args.model, clip_seconds=None)
    found = build_encoder(own, run, step, find_encoder(own, run, step))
    if (own.parts, own.embedding_size, own.compression) == (args.parts, args.embedding_size, args.compression):
        return found, False
    encoder = encoder_of(args)
    encoder.load_state_dict(encoder.state_dict() | {name: value for name, value in found.state_dict().items()
                                                    if not name.startswith("project.")})
    return encoder, hasattr(encoder.project, "weight")
