"""What a teacher says of a set of clips, computed once and kept beside the packed audio."""

import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data.base.errors import UserError
from data.base.files import lock
from data.dataset import Clips, InOrder, ResidentClips, send
from models.teachers.models import Teacher

AT_ONCE = 32  # clips between two writes


def taught(teacher: Teacher, clips: Clips, name: str, cache_dir: str | Path, context: int = 0) -> np.ndarray:
    """The teacher's embeddings of the clips as they are, without augmentation: (N, T) float16, memory-mapped.

    It does not hear ``context`` samples at either end. They are kept under a digest of the clips' samples and of the
    teacher, so other clips are heard anew. A killed call goes on where it was. Raises UserError where the teacher gives
    no number."""
    path = Path(cache_dir) / f"{name.replace(os.sep, '_')}-taught-{_digest(teacher, clips, context)}.f16"
    row = 2 * teacher.size  # bytes

    def whole() -> bool:
        return path.is_file() and path.stat().st_size == row * len(clips)

    if not whole():
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_suffix(".part"), "ab") as part:
            lock(part, wait=True)
            if not whole():  # else another process has just made it
                _go_on(teacher, clips, context, name, part, row)
                os.replace(part.name, path)
    return np.memmap(path, np.float16, "r", shape=(len(clips), teacher.size))


def _go_on(teacher: Teacher, clips: Clips, context: int, name: str, part, row: int) -> None:
    done = part.tell() // row
    part.truncate(done * row)  # a row may have been cut in the middle
    rows = np.arange(done, len(clips))
    with tqdm(total=len(clips), initial=done, desc=f"{teacher.name} hears {name}", unit=" clips", disable=None,
              leave=False) as progress:
        for batch in InOrder(len(rows), AT_ONCE):
            waveforms = clips[rows[batch]][0].numpy()
            embeddings = teacher.embed(waveforms[:, context:waveforms.shape[1] - context])
            length = np.linalg.norm(embeddings, axis=1, keepdims=True)
            if not (np.isfinite(length) & (length > 0)).all():
                raise UserError(f"--teacher {teacher.name}: gives no embedding of "
                                f"{clips.manifest.files[clips.manifest.file[rows[batch][0]]]} or one of the "
                                f"{len(batch)} clips from there; leave it out, or take another teacher")
            part.write((embeddings / length).astype(np.float16).tobytes())
            part.flush()
            progress.update(len(batch))


def _digest(teacher: Teacher, clips: Clips, context: int) -> str:
    digest = hashlib.sha256(teacher.digest.encode() + b"%d" % context * (context > 0))
    for values in (clips.packed.samples, clips.packed.start[clips.rows], clips.packed.length[clips.rows],
                   np.array([clips.packed.clip_samples])):
        digest.update(np.ascontiguousarray(values).view(np.uint8))
    return digest.hexdigest()[:16]


class Taught(torch.utils.data.Dataset):
    """Clips with what the teacher said of each: waveforms (B, S), classes (B,), embeddings (B, T) float16."""

    def __init__(self, clips: Clips | ResidentClips, embeddings: np.ndarray):
        self.clips, self.embeddings = clips, embeddings

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, indices) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        said = torch.from_numpy(self.embeddings[np.asarray(indices)])
        waveforms, labels = self.clips[indices]
        return waveforms, labels, send(said, waveforms.device)
