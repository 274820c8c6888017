"""The front end against the original's figures and against NeMo's constants."""

import numpy as np
import torch

from models.encoders.frontend import CONSTANT, LOG_GUARD, MELS, SETTINGS, WINDOW, LogMel


def test_meets_the_original(golden, noise):
    """Row 3 differs a little: NeMo now also silences the pre-emphasis tail past a clip's end, inside a frame."""
    spectrograms = LogMel().eval()(noise, torch.from_numpy(golden["noise_len"])).numpy()
    assert spectrograms.shape == (4, 64, 112)
    assert np.abs(spectrograms[:3] - golden["noise_spec"][:3]).max() < 1e-3
    cosine = np.vdot(spectrograms[3], golden["noise_spec"][3]) / np.linalg.norm(spectrograms[3]) / np.linalg.norm(
        golden["noise_spec"][3])
    assert cosine > 0.9999


def test_valid_frames_are_normalised_and_the_rest_is_zero_whatever_the_batch(noise):
    frontend = LogMel().eval()
    spectrograms = frontend(noise)
    assert spectrograms.shape == (4, 64, 112) and torch.all(spectrograms[:, :, 100:] == 0)
    assert spectrograms[:, :, :100].mean(2).abs().max() < 1e-4
    assert (spectrograms[:2, :, :100].std(2) - 1).abs().max() < 1e-3
    alone = torch.cat([frontend(noise[i:i + 1]) for i in (3, 1, 0, 2)])
    assert (alone - spectrograms[[3, 1, 0, 2]]).abs().max() < 1e-5
    assert not frontend(torch.zeros(1, 16_000)).any()


def test_constants_take_the_place_of_each_clips_mean_and_deviation(noise):
    by_constants, by_clip = LogMel("constant").eval()(noise[:2]), LogMel().eval()(noise[:2])
    assert by_constants.shape == (2, 64, 101)
    own = by_constants[:, :, :100]
    own = (own - own.mean(2, keepdim=True)) / own.std(2, keepdim=True)
    assert (own - by_clip[:, :, :100]).abs().max() < 1e-3
    silent = LogMel("constant").eval()(torch.zeros(1, 22_400))
    assert torch.equal(silent, torch.full_like(silent, -CONSTANT["mean"] / CONSTANT["deviation"]))


def test_near_silence_is_no_matter_of_rounding(noise):
    """float32 gives what float64 does even of noise far below the logarithm's guard, which normalising makes loud."""
    clip = noise[:1] * 1e-4  # -100 dB of full scale
    frontend, exact = LogMel().eval(), LogMel().eval().double()
    assert (frontend(clip) - exact(clip.double())).abs().max() < 1e-2


def test_dither_only_while_training(noise):
    frontend, kept = LogMel(), noise.clone()
    frontend.eval()
    assert torch.equal(frontend(noise), frontend(noise))
    frontend.train()
    assert not torch.equal(frontend(noise), frontend(noise))
    assert torch.equal(noise, kept)  # nor does it change its argument


def test_constants_are_nemos():
    from nemo.collections.asr.modules import AudioToMelSpectrogramPreprocessor

    theirs = AudioToMelSpectrogramPreprocessor(
        sample_rate=SETTINGS["sample_rate"], window_size=SETTINGS["window_seconds"],
        window_stride=SETTINGS["stride_seconds"], window="hann", n_fft=SETTINGS["n_fft"], features=MELS,
        normalize="per_feature", preemph=SETTINGS["preemphasis"], dither=SETTINGS["dither"],
        pad_to=SETTINGS["pad_frames_to"]).featurizer
    ours = LogMel()
    assert torch.equal(ours.filters, theirs.fb[0])
    assert (theirs.win_length, theirs.n_fft, theirs.log_zero_guard_value) == (WINDOW, SETTINGS["n_fft"], LOG_GUARD)
    # NeMo's window is symmetric, so one of a sample more; ours is periodic, as it was when the encoders were trained.
    assert torch.allclose(ours.window, torch.hann_window(WINDOW + 1, periodic=False)[:-1], atol=1e-6)
    assert torch.equal(theirs.window, torch.hann_window(WINDOW, periodic=False))
