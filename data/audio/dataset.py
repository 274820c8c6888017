"""Waveforms and labels by index, a batch at a time."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from data.audio.packed import PackedClips, pack, usable
from data.base.files import CACHE
from data.manifests.manifest import Manifest

_COPIED = 1 << 25  # samples brought to a GPU at a time


@dataclass
class Clips(torch.utils.data.Dataset):
    """The usable clips of one split. Indexed by a whole batch, so that one call reads it."""

    packed: PackedClips
    manifest: Manifest  # without those left out as unusable
    rows: np.ndarray  # (N,) where each utterance lies in ``packed``

    @classmethod
    def of(cls, manifest: Manifest, name: str, clip_seconds: float, cache_dir: str | Path = CACHE,
           skip_bad_audio: bool = False, centred: bool = False) -> "Clips":
        """Pack a manifest's audio, or reuse what was packed; ``centred`` as in `PackedClips`. Raises UserError as
        `pack` and `usable` do."""
        packed = replace(pack(manifest, clip_seconds, name, cache_dir), centred=centred)
        rows = usable(packed, manifest, skip_bad_audio)
        return cls(packed, manifest if len(rows) == len(manifest) else manifest.subset(rows), rows)

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, indices: np.ndarray) -> "Clips":
        """Those at ``indices``."""
        return Clips(self.packed, self.manifest.subset(indices), self.rows[indices])

    def __getitem__(self, indices) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms (B, S) int16 and classes (B,) int64. int16 halves what travels to a GPU; `scale` makes it float."""
        indices = np.asarray(indices)
        return (torch.from_numpy(self.packed.read(self.rows[indices])),
                torch.from_numpy(self.manifest.label[indices].astype(np.int64)))


def scale(waveforms: torch.Tensor) -> torch.Tensor:
    """(B, S) int16 to float32 in [-1, 1)."""
    return waveforms.float() / 32768.0


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a small tensor to a device without waiting for it."""
    if torch.device(device).type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class ResidentClips(torch.utils.data.Dataset):
    """`Clips` whose audio lies on a device, where a batch is gathered: neither host nor bus carries any."""

    def __init__(self, clips: Clips, device: torch.device):
        self.device, self.clip_samples = torch.device(device), clips.packed.clip_samples
        samples = clips.packed.samples
        self.samples = torch.empty(len(samples), dtype=torch.int16, device=device)
        for start in range(0, len(samples), _COPIED):
            part = np.array(samples[start:start + _COPIED])  # a mapped file cannot be written to, as torch would warn
            self.samples[start:start + len(part)] = torch.from_numpy(part)
        self.start, self.length, self.label = (
            torch.from_numpy(np.ascontiguousarray(values, np.int64)).to(device)
            for values in (clips.packed.start[clips.rows], clips.packed.length[clips.rows], clips.manifest.label))
        self.first = (self.clip_samples - self.length) // 2 * clips.packed.centred

    @classmethod
    def if_they_fit(cls, clips: Clips, device: torch.device) -> "ResidentClips | Clips":
        """On a GPU where they take no more than a third of the free memory; else the clips as they are."""
        if device.type != "cuda" or 3 * clips.packed.samples.nbytes > torch.cuda.mem_get_info(device)[0]:
            return clips
        return cls(clips, device)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, indices) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Clips` gives them, on the device."""
        rows = send(torch.from_numpy(np.asarray(indices, np.int64)), self.device)
        position = torch.arange(self.clip_samples, device=self.device) - self.first[rows][:, None]  # (B, S)
        inside = (position >= 0) & (position < self.length[rows][:, None])
        source = (self.start[rows][:, None] + position).clamp_(0, len(self.samples) - 1)
        return self.samples[source] * inside, self.label[rows]


def loader(clips: Clips | ResidentClips, batches, pin_memory: bool = False) -> torch.utils.data.DataLoader:
    """Batches of clips in the order that ``batches``, a sampler of index arrays, gives.

    There are no worker processes: copying a batch out of the mapped cache takes less time than handing it over.
    """
    return torch.utils.data.DataLoader(clips, batch_size=None, sampler=batches, pin_memory=pin_memory)


class InOrder:
    """Every clip once, in order, at most ``batch_size`` a batch: the sampler of a test."""

    def __init__(self, count: int, batch_size: int):
        self.count, self.batch_size = count, batch_size

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self):
        for start in range(0, self.count, self.batch_size):
            yield np.arange(start, min(start + self.batch_size, self.count))


class Shuffled:
    """Every clip once an epoch in random order, ``batch_clips`` a batch, for ``num_steps`` batches from ``start`` on.

    What is left of an epoch's clips when they do not fill a batch starts the next batch, so that none is short.
    """

    def __init__(self, count: int, batch_clips: int, seed: int = 0, num_steps: int | None = None, start: int = 0):
        self.count, self.batch_clips, self.seed, self.start = count, batch_clips, seed, start
        self.epoch_steps = max(1, count // batch_clips)
        self.num_steps = self.epoch_steps if num_steps is None else num_steps

    def __len__(self) -> int:
        return max(0, self.num_steps - self.start)

    def __iter__(self):
        order = lru_cache(1)(lambda epoch: np.random.default_rng([self.seed, epoch]).permutation(self.count))
        for step in range(self.start, self.num_steps):
            first = step * self.batch_clips
            positions = np.arange(first, first + self.batch_clips)
            yield np.concatenate([order(epoch)[positions[positions // self.count == epoch] % self.count]
                                  for epoch in range(first // self.count, positions[-1] // self.count + 1)])
