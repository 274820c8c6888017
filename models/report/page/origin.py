"""Where a page's figures are from: command, run, step, data, each with a digest that tells it from another."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from data.base.errors import first_few
from models.runs.checkpoints import encoder_digest

if TYPE_CHECKING:
    from data.dataset import Clips

NAMED = 40  # of a list


def origin_rows(content: dict, splits: dict[str, Clips]) -> list[tuple[str, str]]:
    """Names and values for `models.report.page.parts.Page.origin`, from what a test's JSON holds, and the clips that
    were tested or compared with."""
    from models.runs.provenance import fingerprint

    facts = {name: as_text(value) for name, value in content["facts"].items() if not name.startswith("note ")}
    for what in {"encoder", "head"} & {*facts}:
        path = Path(facts[what])
        facts[what] = f"run {path.parent.parent.name}, {path.stem}: {path} (SHA-256 {encoder_digest(path)})"
    for split, clips in splits.items():
        facts[f"{split}_clips"] = f"{len(clips):,} of {clips.manifest.path} (digest {fingerprint(clips.manifest)})"
    return [("made", datetime.now().astimezone().isoformat(" ", "seconds")), ("command", content["command"]),
            *((name.replace("_", " "), text) for name, text in facts.items()),
            ("versions", as_text(content["versions"]))]


def notes_of(facts: dict) -> list[str]:
    """What a reader of the figures must know, as it was printed by those who found the facts."""
    return [value for name, value in facts.items() if name.startswith("note ")]


def as_text(value: object) -> str:
    """A fact in a line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {as_text(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return first_few(map(str, value), NAMED) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
