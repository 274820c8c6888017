"""Which encoder it is: what a words file, a cohort and an export are held to."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from data.audio.decoding import SAMPLE_RATE

# Of their JSON, see `data.base.files.misshapen`.
FACTS = {"path": str, "run": str, "model": str, "step": int, "sha256": str, "width": int, "clip_samples": int,
         "frontend": dict}


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
