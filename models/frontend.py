"""Waveform to log-mel spectrogram, as the original computed it, and masks for training."""

import torch
from nemo.collections.asr.modules import AudioToMelSpectrogramPreprocessor

from data.audio import SAMPLE_RATE

MELS = 64
HOP = 160  # samples between frames: 10 ms
# What a checkpoint's config.json records, so that a later change of the front end cannot go unnoticed.
SETTINGS = {"sample_rate": SAMPLE_RATE, "mels": MELS, "window_seconds": 0.025, "stride_seconds": 0.01, "n_fft": 512,
            "preemphasis": 0.97, "dither": 1e-5, "pad_frames_to": 16}


class LogMel(torch.nn.Module):
    """NeMo's log-mel front end with the arithmetic of NeMo 0.10, on which the published encoders were trained.

    Today's NeMo differs in three ways that move those encoders' embeddings (cosine 0.9976-0.9996), mended here: its
    Hann window is symmetric (was periodic), the signal's ends are padded with zeros (were reflected), and an
    incomplete last hop is no valid frame (was one). Dither, noise of 1e-5, is added in training mode only.
    """

    def __init__(self):
        super().__init__()
        self.nemo = AudioToMelSpectrogramPreprocessor(
            sample_rate=SAMPLE_RATE, window_size=SETTINGS["window_seconds"], window_stride=SETTINGS["stride_seconds"],
            window="hann", n_fft=SETTINGS["n_fft"], features=MELS, normalize="per_feature",
            preemph=SETTINGS["preemphasis"], dither=SETTINGS["dither"], pad_to=SETTINGS["pad_frames_to"])
        features = self.nemo.featurizer
        features.window = torch.hann_window(features.win_length, periodic=True)
        features.stft = self._stft  # the hook that NeMo's own forward calls

    def _stft(self, signal: torch.Tensor) -> torch.Tensor:
        """(B, S) to complex (B, 257, frames)."""
        features = self.nemo.featurizer
        return torch.stft(signal, features.n_fft, features.hop_length, features.win_length, features.window,
                          center=True, pad_mode="reflect", return_complex=True)

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Normalised log-mel spectrograms.

        Args:
            waveforms: (B, S) float32 in [-1, 1] at 16 kHz.
            lengths: (B,) valid samples; None counts all S, which is what makes a clip's spectrogram independent of
                the batch it is in.

        Returns:
            (B, 64, T) float32, T = frames padded with zeros to a multiple of 16; one second gives 112, 100 of them
            valid. Each band has mean 0 and standard deviation 1 over the valid frames.
        """
        if lengths is None:
            lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
        if self.training:
            waveforms = waveforms.clone()  # NeMo adds the dither in place
        lengths = (lengths + HOP - 1) // HOP * HOP  # counts an incomplete last hop as a valid frame
        return self.nemo(input_signal=waveforms, length=lengths)[0]


class SpectrogramMasks(torch.nn.Module):
    """Zero out random bands, stretches and rectangles: SpecAugment and Cutout in one, for a whole batch at once.

    The defaults are the original's for Speech Commands. Masks are up to the given sizes and inside the valid frames.
    NeMo's own Cutout loops over clips and rectangles, one kernel launch each.

    Args:
        bands: number and largest height (mel bands) of masks over all frames.
        stretches: number and largest width (frames) of masks over all bands.
        rectangles: number, largest height and largest width.
    """

    def __init__(self, bands=(2, 15), stretches=(2, 25), rectangles=(5, 15, 25)):
        super().__init__()
        (many_bands, band), (many_stretches, stretch), (many, height, width) = bands, stretches, rectangles
        self.heights = torch.tensor([band] * many_bands + [0] * many_stretches + [height] * many)  # (M,); 0: all
        self.widths = torch.tensor([0] * many_bands + [stretch] * many_stretches + [width] * many)

    def forward(self, spectrograms: torch.Tensor, frames: int, generator: torch.Generator) -> torch.Tensor:
        """Mask (B, F, T), of whose T frames the first ``frames`` are valid; ``generator`` is on the CPU."""
        batch, mels, time = spectrograms.shape
        device = spectrograms.device
        bands = self._outside(self.heights, batch, mels, mels, generator).to(device, non_blocking=True)  # (B, M, F)
        stretches = self._outside(self.widths, batch, frames, time, generator).to(device, non_blocking=True)
        # A cell is kept when every mask misses it, by band or by frame.
        kept = torch.ones(batch, mels, time, dtype=torch.bool, device=device)
        for m in range(len(self.heights)):
            kept &= bands[:, m, :, None] | stretches[:, m, None, :]
        return spectrograms * kept

    @staticmethod
    def _outside(largest: torch.Tensor, batch: int, limit: int, size: int, generator: torch.Generator) -> torch.Tensor:
        """Which of ``size`` positions lie outside random spans within [0, limit): (B, M, size) bool."""
        draw = torch.rand(2, batch, len(largest), generator=generator)
        span = (draw[0] * (largest.clamp(max=limit) + 1)).long()  # 0 ... largest
        start = (draw[1] * (limit - span + 1)).long()
        span = torch.where(largest == 0, size, span)[..., None]
        start = torch.where(largest == 0, 0, start)[..., None]
        position = torch.arange(size)
        return (position < start) | (position >= start + span)
