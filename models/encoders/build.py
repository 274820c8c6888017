"""The encoders by name, and what they make of clips: embeddings, and the scores of a softmax head."""

import logging
from argparse import Namespace

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from data.audio.dataset import Clips, InOrder, ResidentClips, loader, scale
from data.audio.decoding import SAMPLE_RATE
from data.base.errors import UserError
from models import parallel
from models.context import MARGIN, SHARED
from models.encoders.device import full_float32
from models.encoders.frontend import MELS, LogMel, frames_of
from models.encoders.resnet import Res8, Res15

BATCH, BATCH_GPU = 128, 512  # clips embedded at once; the embeddings do not depend on it
# (filters, kernel, repeats, stride, dilation, residual) of Quartz's blocks but the last, which is a 1x1 convolution.
BLOCKS = (
    (256, 33, 1, 2, 1, False),  # halves the frame rate
    (256, 33, 5, 1, 1, True), (256, 39, 5, 1, 1, True), (256, 39, 5, 1, 1, True), (512, 51, 5, 1, 1, True),
    (512, 51, 5, 1, 1, True), (512, 63, 5, 1, 1, True), (512, 75, 5, 1, 1, True),
    (512, 87, 1, 1, 2, False))


def encoder_of(args: Namespace) -> nn.Module:
    """The untrained encoder of a script's arguments, its sizes filled in by `resolve_sizes` or `find_encoder`."""
    frames = frames_of(round(args.clip_seconds * SAMPLE_RATE))
    return make_encoder(args.model, args.hidden_size, args.embedding_size, args.filters, frames, args.parts,
                        args.compression)


def make_encoder(model: str, width: int, embedding: int | None = None, filters: int | None = None,
                 frames: int = 112, parts: int = 1, compression: str = "log") -> nn.Module:
    """An untrained encoder: log-mel (B, F, T) to embeddings (B, D), not normalised. ``width`` is the channels of Res8
    and Res15, and D unless ``embedding`` is given. Quartz alone takes ``filters`` and ``frames``, Res8 alone ``parts``
    of time with a mean each, and context at both ends by ``compression``."""
    if model == "Quartz":
        return Quartz(embedding or width, filters or 1024, frames)
    if model == "Res8":
        return Res8(width, embedding, parts, MARGIN if compression == SHARED else 0)
    return Res15(width, embedding)


class Quartz(nn.Module):
    """Spectrogram of ``frames`` frames to embedding of size ``width``, by NeMo's QuartzNet (Kriman et al., 2020,
    arXiv:1910.10261), convolutions over time, and a linear layer on all of its frames. The last block has ``filters``:
    the original has 128 or 1024, by data set."""

    def __init__(self, width: int = 128, filters: int = 1024, frames: int = 112):
        super().__init__()
        logging.getLogger("nv_one_logger").setLevel(logging.ERROR)  # of telemetry, of which there is none
        from nemo.collections.asr.modules import ConvASREncoder  # eight seconds, so not before it is wanted

        self.width, self.frames = width, frames
        blocks = [{"filters": size, "kernel": [kernel], "repeat": repeats, "stride": [stride], "dilation": [dilation],
                   "dropout": 0.0, "residual": residual, "separable": kernel > 1}
                  for size, kernel, repeats, stride, dilation, residual in (*BLOCKS, (filters, 1, 1, 1, 1, False))]
        # All frames are valid, so no convolution masks any.
        self.quartznet = ConvASREncoder(blocks, activation="relu", feat_in=MELS, conv_mask=False)
        self.linear = nn.Linear(filters * -(-frames // 2), width)

    def forward(self, spectrograms: torch.Tensor) -> torch.Tensor:
        """(B, F, T) log-mel to (B, D), not normalised."""
        frames = self.quartznet.encoder(([spectrograms], None))[0][-1]  # (B, filters, T / 2)
        return self.linear(frames.flatten(1))


def embed(encoder: nn.Module, spectrograms: torch.Tensor) -> torch.Tensor:
    """(B, F, T) to L2-normalised embeddings (B, D), in float32 whatever precision the encoder ran in."""
    return functional.normalize(encoder(spectrograms).float(), dim=1)


class WaveformEncoder(nn.Module):
    """Waveforms to unit embeddings of size ``width``, as the scripts make them. A clip is cut or padded to
    ``clip_samples``, as in training."""

    def __init__(self, encoder: nn.Module, clip_seconds: float, compression: str = "log"):
        super().__init__()
        self.encoder, self.frontend = encoder, LogMel(compression)
        self.width, self.clip_samples = encoder.width, round(clip_seconds * SAMPLE_RATE)

    @torch.no_grad()
    @full_float32()
    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Unit embeddings (B, D) of waveforms (B, S) at 16 kHz, floating in [-1, 1] or int16, computed in full float32.
        A longer one is cut around its centre, a shorter one zero-padded at its end, or at both ends for an encoder with
        context. Raises ValueError for other shapes or types."""
        if waveforms.ndim != 2 or not (waveforms.is_floating_point() or waveforms.dtype == torch.int16):
            raise ValueError(f"waveforms must be (B, S), floating or int16, not {waveforms.dtype} of shape "
                             f"{tuple(waveforms.shape)}")
        surplus = waveforms.shape[1] - self.clip_samples
        if surplus > 0:
            waveforms = waveforms[:, surplus // 2:surplus // 2 + self.clip_samples]
        before = -surplus // 2 * (self.frontend.compression == SHARED) if surplus < 0 else 0
        waveforms = functional.pad(waveforms, (before, max(0, -surplus) - before))
        return embed(self.encoder, self._spectrograms(waveforms))

    @torch.no_grad()
    @full_float32()
    def rows(self, waveforms: torch.Tensor) -> torch.Tensor:
        """What windows share (B, R, C) of waveforms (B, S) of any length from a clip's on, for an encoder with context:
        the mean over frequency of each row of frames (480 samples) that has all its context."""
        found = self.encoder.means(self._spectrograms(waveforms))
        return found.view(len(waveforms), -1, len(self.encoder.conv0.weight))

    def projection(self) -> tuple[np.ndarray, np.ndarray]:
        """Weight (D, P * C) and bias (D,) that make an embedding of a clip's means, before it is scaled to length 1."""
        project = self.encoder.project
        if isinstance(project, nn.Linear):
            return project.weight.detach().cpu().numpy(), project.bias.detach().cpu().numpy()
        return np.eye(self.width, dtype=np.float32), np.zeros(self.width, np.float32)

    def _spectrograms(self, waveforms: torch.Tensor) -> torch.Tensor:
        x = waveforms.float() if waveforms.is_floating_point() else scale(waveforms)
        return self.frontend(x.to(self.frontend.window.device))


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


class ClassificationNet(nn.Module):
    """PReLU and one linear layer: an embedding to class log-probabilities. Parameters are named as the original's."""

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.nonlinear = nn.PReLU()
        self.fc1 = nn.Linear(width, num_classes)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """(B, D) to log-probabilities (B, C)."""
        return functional.log_softmax(self.fc1(self.nonlinear(embeddings)), dim=-1)


@torch.no_grad()
@full_float32()
def head_scores(head: ClassificationNet, embeddings: np.ndarray) -> np.ndarray:
    """Embeddings (N, D) to log-probabilities (N, C), both float32. Raises UserError for scores that are not numbers."""
    scores = head(torch.from_numpy(embeddings).to(next(head.parameters()).device)).cpu().numpy()
    bad = np.flatnonzero(np.isnan(scores).any(1) | (scores == np.inf).any(1))
    if len(bad):
        raise UserError(f"the head's scores of {len(bad)} of {len(scores)} clips are not numbers (first: clip "
                        f"{bad[0]}): its training, or the encoder's, diverged; use an earlier step, or train with a "
                        "lower --lr")
    return scores


def add_prior(scores: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """Log-probabilities (N, C) as they are where classes are as frequent as in (C,) numbers of ``clips``, by Bayes'
    rule (Menon et al., 2021, arXiv:2007.07314); a class without a clip is never predicted."""
    with np.errstate(divide="ignore"):
        scores = scores + np.log(clips / clips.sum(), dtype=np.float64)
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
