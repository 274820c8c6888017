"""Which encoder it is: what a words file, a cohort and an export are held to."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from data.audio.decoding import SAMPLE_RATE
from data.base.files import misshapen

_MOST = 2**31 - 1  # samples of a clip, or numbers of an embedding


@dataclass(frozen=True)
class Facts:
    """Which encoder it is.

    Attributes:
        path: of the file that it was loaded from.
        run, model, step: of its checkpoint.
        sha256: of its checkpoint, also if it was loaded from an export.
        width: D, the size of an embedding.
        clip_samples: the length of what it embeds, at 16 kHz.
        frontend: the settings of its front end.
    """

    path: str
    run: str
    model: str
    step: int
    sha256: str
    width: int
    clip_samples: int
    frontend: dict

    @property
    def clip_seconds(self) -> float:
        return self.clip_samples / SAMPLE_RATE

    def __str__(self) -> str:
        return f"run {self.run!r}, {self.model}, step {self.step} (SHA-256 {self.sha256[:12]})"

    def to_json(self) -> dict:
        return asdict(self)


def facts_of(value: object) -> Facts | str:
    """`Facts` from the JSON of a words file, or what is wrong with it."""
    shape = {"path": str, "run": str, "model": str, "step": int, "sha256": str, "width": int, "clip_samples": int,
             "frontend": dict}
    if problem := misshapen(value, shape, "'encoder'"):
        return problem
    if missing := [key for key in shape if key not in value]:
        return f"'encoder' lacks {missing[0]!r}"
    if odd := [key for key in ("clip_samples", "width") if not 1 <= value[key] <= _MOST]:
        return f"'encoder' has a {odd[0]!r} that no encoder has"
    return Facts(**{key: value[key] for key in shape})
