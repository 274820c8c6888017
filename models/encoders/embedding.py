"""From packed clips to embeddings: one pass over a data set."""

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from data.dataset import Clips, InOrder, ResidentClips, loader, scale
from models import parallel
from models.encoders.build import embed
from models.encoders.device import full_float32
from models.encoders.frontend import LogMel

BATCH, BATCH_GPU = 128, 512  # clips embedded at once; the embeddings do not depend on it


@torch.no_grad()
@full_float32()  # one clip, one embedding: to 1e-5, on a GPU too
def embed_clips(encoder: nn.Module, frontend: LogMel, clips: Clips | ResidentClips, indices: np.ndarray | None = None,
                title: str | None = None, normalise: bool = True, batch: int | None = None) -> np.ndarray:
    """Embeddings (N, D) float32 of a data set, or of the clips at ``indices``, in evaluation mode and full float32.
    They have length 1 if ``normalise``. ``title`` is shown by a progress bar; ``batch`` is the number of clips at once,
    by default what is fast on the device."""
    device = next(encoder.parameters()).device
    indices = np.arange(len(clips)) if indices is None else indices
    batch = batch or (BATCH_GPU if device.type == "cuda" else BATCH)
    modes = [(module, module.training) for module in (encoder, frontend)]
    try:
        for module, _ in modes:
            module.eval()
        parts = [torch.zeros(0, encoder.width, device=device)]  # so that no clips are no special case
        batches = [indices[rows] for rows in InOrder(len(indices), batch)]
        with tqdm(total=len(indices), desc=title, unit=" clips", leave=False,
                  disable=None if title and not parallel.rank() else True) as progress:
            pin_memory = device.type == "cuda" and not isinstance(clips, ResidentClips)
            for waveforms, _ in loader(clips, batches, pin_memory):
                spectrograms = frontend(scale(waveforms.to(device, non_blocking=True)))
                parts.append(embed(encoder, spectrograms) if normalise else encoder(spectrograms))
                progress.update(len(waveforms))
        return torch.cat(parts).cpu().numpy()
    finally:
        for module, training in modes:
            module.train(training)
