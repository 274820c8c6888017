"""Waveform to log-mel spectrogram, as the original computed it, or normalised by constants."""

import torch

from data.audio.decoding import SAMPLE_RATE
from models.context import SECONDS, SHARED

MELS = 64
EPSILON = 1e-5  # added to a band's deviation
LOG_GUARD = 2.0**-24  # added to a band's power, whose logarithm is taken
WINDOW = 400  # samples: 25 ms
CHUNK = 16  # clips at a time on a CPU, so that what lies between the steps stays in its cache
HOP = 160  # samples between frames: 10 ms
# What a checkpoint's config.json records, so that a later change of the front end cannot go unnoticed.
SETTINGS = {"sample_rate": SAMPLE_RATE, "mels": MELS, "window_seconds": 0.025, "stride_seconds": 0.01, "n_fft": 512,
            "preemphasis": 0.97, "dither": 1e-5, "pad_frames_to": 16}
# What it records besides of a logarithm that is normalised by constants, about those of speech at the usual level,
# instead of by each clip's own mean and deviation: a frame is then the same in every window that holds it.
CONSTANT = {"compression": SHARED, "mean": 5.6, "deviation": 3.6, "context_seconds": SECONDS, "pad_frames_to": 1}


def frames_of(samples: int) -> int:
    """T of the spectrogram of a clip."""
    padded = SETTINGS["pad_frames_to"]
    return -(-(samples // HOP + 1) // padded) * padded


def settings(compression: str) -> dict:
    """What config.json records of the front end with that compression, "log" or "constant"."""
    return SETTINGS | (CONSTANT if compression == SHARED else {})


class LogMel(torch.nn.Module):
    """The log-mel front end of NeMo 0.10, on which the published encoders were trained; or the same normalised by
    constants.

    Today's NeMo differs in three ways that move those encoders' embeddings (cosine 0.9976-0.9996): its Hann window is
    symmetric (was periodic), the signal's ends are padded with zeros (were reflected), and an incomplete last hop is no
    valid frame (was one). It also makes the host wait for a GPU. Dither is added in training mode only.
    """

    def __init__(self, compression: str = "log"):
        super().__init__()
        self.compression = compression
        from librosa.filters import mel  # a second and a half

        filters = mel(sr=SAMPLE_RATE, n_fft=SETTINGS["n_fft"], n_mels=MELS)  # Slaney's, 0 to 8000 Hz: (64, 257)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW, periodic=True), persistent=False)

    @torch.no_grad()
    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor | None = None,
                filters: torch.Tensor | None = None) -> torch.Tensor:
        """Normalised mel spectrograms (B, 64, T) float32 of waveforms (B, S) float32 in [-1, 1] at 16 kHz: each band
        has mean 0 and standard deviation 1 over the valid frames. T is padded with zeros to a multiple of 16; one
        second gives 112, 100 of them valid. With constants, T is S // 160 + 1. ``lengths`` (B,) are valid samples, by
        default all; ``filters`` (B, 64, 257) each clip's own, by default Slaney's."""
        if lengths is None:
            lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
        if waveforms.device.type != "cpu":
            return self._log_mel(waveforms, lengths, self.filters if filters is None else filters)
        parts = waveforms.split(CHUNK)
        own = [self.filters] * len(parts) if filters is None else filters.split(CHUNK)
        return torch.cat([self._log_mel(*part) for part in zip(parts, lengths.split(CHUNK), own, strict=True)])

    def _log_mel(self, x: torch.Tensor, lengths: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
        if self.training:
            x = x + SETTINGS["dither"] * torch.randn_like(x)
        x = torch.cat([x[:, :1], x[:, 1:] - SETTINGS["preemphasis"] * x[:, :-1]], 1)
        frames = ((lengths + HOP - 1) // HOP)[:, None, None]  # (B, 1, 1): an incomplete last hop is a valid frame
        x = x * (torch.arange(x.shape[1], device=x.device) < frames[:, 0] * HOP)
        with torch.autocast(x.device.type, enabled=False):
            spectrum = torch.stft(x, SETTINGS["n_fft"], HOP, WINDOW, self.window, center=True, pad_mode="reflect",
                                  return_complex=True)  # (B, 257, T)
            power = spectrum.real.square() + spectrum.imag.square()
            # log(power + guard) less log(guard), which the mean takes away: in near silence the sum would round off
            # all that there is, and the normalisation by the deviation would make it as loud as speech.
            x = (filters @ power / LOG_GUARD).log1p()  # (B, F, T)
        if self.compression == SHARED:
            return (x - CONSTANT["mean"]) / CONSTANT["deviation"]
        valid = torch.arange(x.shape[2], device=x.device) < frames  # (B, 1, T)
        x = x * valid
        x = (x - x.sum(2, keepdim=True) / frames) * valid
        deviation = (x.square().sum(2, keepdim=True) / (frames - 1).clamp_min(1)).sqrt()
        return torch.nn.functional.pad(x / (deviation + EPSILON), (0, -x.shape[2] % SETTINGS["pad_frames_to"]))
