"""Waveform to log-mel spectrogram, as the original computed it, and masks for training."""

import torch
from nemo.collections.asr.modules import AudioToMelSpectrogramPreprocessor

from data.audio import SAMPLE_RATE
from data.dataset import send

MELS = 64
EPSILON = 1e-5  # added to a band's deviation
CHUNK = 16  # clips at a time on a CPU, so that what lies between the steps stays in its cache
HOP = 160  # samples between frames: 10 ms
# What a checkpoint's config.json records, so that a later change of the front end cannot go unnoticed.
SETTINGS = {"sample_rate": SAMPLE_RATE, "mels": MELS, "window_seconds": 0.025, "stride_seconds": 0.01, "n_fft": 512,
            "preemphasis": 0.97, "dither": 1e-5, "pad_frames_to": 16}


class LogMel(torch.nn.Module):
    """NeMo's log-mel front end with the arithmetic of NeMo 0.10, on which the published encoders were trained.

    Settings, window and mel filters are NeMo's. The steps between are taken here, for two reasons. Today's NeMo differs
    in three ways that move those encoders' embeddings (cosine 0.9976-0.9996): its Hann window is symmetric (was
    periodic), the signal's ends are padded with zeros (were reflected), and an incomplete last hop is no valid frame
    (was one). And its code makes the host wait for a GPU at every call, and takes twice as long on a CPU. Dither, noise
    of 1e-5, is added in training mode only.
    """

    def __init__(self):
        super().__init__()
        self.nemo = AudioToMelSpectrogramPreprocessor(
            sample_rate=SAMPLE_RATE, window_size=SETTINGS["window_seconds"], window_stride=SETTINGS["stride_seconds"],
            window="hann", n_fft=SETTINGS["n_fft"], features=MELS, normalize="per_feature",
            preemph=SETTINGS["preemphasis"], dither=SETTINGS["dither"], pad_to=SETTINGS["pad_frames_to"])
        features = self.nemo.featurizer
        features.window = torch.hann_window(features.win_length, periodic=True)

    @torch.no_grad()
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
        if waveforms.device.type != "cpu":
            return self._log_mel(waveforms, lengths)
        return torch.cat([self._log_mel(*part) for part in zip(waveforms.split(CHUNK), lengths.split(CHUNK),
                                                               strict=True)])

    def _log_mel(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        features = self.nemo.featurizer
        if self.training:
            x = x + features.dither * torch.randn_like(x)
        x = torch.cat([x[:, :1], x[:, 1:] - features.preemph * x[:, :-1]], 1)
        frames = ((lengths + HOP - 1) // HOP)[:, None, None]  # (B, 1, 1): an incomplete last hop is a valid frame
        x = x * (torch.arange(x.shape[1], device=x.device) < frames[:, 0] * HOP)
        with torch.autocast(x.device.type, enabled=False):
            spectrum = torch.stft(x, features.n_fft, features.hop_length, features.win_length, features.window,
                                  center=True, pad_mode="reflect", return_complex=True)  # (B, 257, T)
            power = spectrum.real.square() + spectrum.imag.square()
            x = (features.fb @ power + features.log_zero_guard_value).log()  # (B, F, T)
        valid = torch.arange(x.shape[2], device=x.device) < frames  # (B, 1, T)
        x = x * valid
        x = (x - x.sum(2, keepdim=True) / frames) * valid
        deviation = (x.square().sum(2, keepdim=True) / (frames - 1).clamp_min(1)).sqrt()
        return torch.nn.functional.pad(x / (deviation + EPSILON), (0, -x.shape[2] % SETTINGS["pad_frames_to"]))


# Number and largest extent of what is masked, by name: the original's for Speech Commands, which hides 44 % of a
# spectrogram on average, and one of 15 %, with which a small training set can be fitted in a few hundred steps.
MASKS = {"full": {"bands": (2, 15), "stretches": (2, 25), "rectangles": (5, 15, 25)},
         "light": {"bands": (1, 10), "stretches": (1, 15), "rectangles": (0, 0, 0)}}


class SpectrogramMasks(torch.nn.Module):
    """Zero out random bands, stretches and rectangles: SpecAugment and Cutout in one, for a whole batch at once.

    Masks are up to the given sizes and inside the valid frames. NeMo's own Cutout loops over clips and rectangles, one
    kernel launch each.

    Args:
        bands: number and largest height (mel bands) of masks over all frames.
        stretches: number and largest width (frames) of masks over all bands.
        rectangles: number, largest height and largest width.
    """

    def __init__(self, bands: tuple[int, int], stretches: tuple[int, int], rectangles: tuple[int, int, int]):
        super().__init__()
        (many_bands, band), (many_stretches, stretch), (many, height, width) = bands, stretches, rectangles
        self.heights = torch.tensor([band] * many_bands + [0] * many_stretches + [height] * many)  # (M,); 0: all
        self.widths = torch.tensor([0] * many_bands + [stretch] * many_stretches + [width] * many)

    def forward(self, spectrograms: torch.Tensor, frames: int, generator: torch.Generator) -> torch.Tensor:
        """Mask (B, F, T), of whose T frames the first ``frames`` are valid; ``generator`` is on the CPU."""
        batch, mels, time = spectrograms.shape
        device = spectrograms.device
        bands = send(self._outside(self.heights, batch, mels, mels, generator), device)  # (B, M, F)
        stretches = send(self._outside(self.widths, batch, frames, time, generator), device)  # (B, M, T)
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
