"""Clips are the right samples of the right file, whatever its format, at a level that loses nothing."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.base.errors import UserError
from data.decoding import SAMPLE_RATE, decode, fit, to_int16

RNG = np.random.default_rng(0)
NOISE = RNG.integers(-20_000, 20_000, 48_000).astype(np.int16)  # three seconds


def tone(seconds, rate, hertz=440.0, level=0.5):
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def wav(path, samples=NOISE, rate=SAMPLE_RATE, **how):
    soundfile.write(path, samples, rate, **how)
    return str(path)


# -- decode and fit

@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_16_khz_int16_is_taken_as_it_is(tmp_path, extension):
    path = wav(tmp_path / f"a.{extension}")
    assert np.array_equal(decode(path), NOISE)
    assert np.array_equal(decode(path, 0.5, 0.25), NOISE[8_000:12_000])
    assert np.array_equal(decode(path, 2.5, 9.0), NOISE[40_000:])  # to the end when there is no more


@pytest.mark.parametrize("extension", ["ogg", "mp3"])
def test_lossy_formats_come_near(tmp_path, extension):
    path = wav(tmp_path / f"a.{extension}", tone(1, SAMPLE_RATE))
    inside = slice(2_000, 14_000)
    error = decode(path)[inside] / 32768 - tone(1, SAMPLE_RATE)[inside]
    assert len(decode(path)) == SAMPLE_RATE
    assert np.abs(error).max() < 0.02


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_keeps_pitch_level_and_length(tmp_path, rate):
    found = decode(wav(tmp_path / "a.wav", tone(1, rate), rate)) / 32768
    assert abs(len(found) - SAMPLE_RATE) <= 1
    inside = slice(1_000, 15_000)  # a tone that starts at once rings at its ends
    assert np.abs(found[inside] - tone(1, SAMPLE_RATE)[inside]).max() < 0.01


def test_offset_and_duration_are_seconds_at_any_rate(tmp_path):
    click = np.zeros(88_200)
    click[44_100 + 22_050] = 0.9  # at 1.5 s
    path = wav(tmp_path / "a.wav", click, 44_100)
    part = decode(path, 1.25, 0.5)
    assert len(part) == 8_000
    assert abs(int(np.abs(part).argmax()) - 4_000) <= 1


def test_channels_are_averaged(tmp_path):
    left, right = RNG.integers(-9_000, 9_000, (2, 16_000))
    path = wav(tmp_path / "a.wav", np.stack([left, right], 1).astype(np.int16))
    assert np.abs(decode(path) - (left + right) / 2).max() <= 0.5


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "ULAW"])
def test_sample_types_agree(tmp_path, subtype):
    path = wav(tmp_path / "a.wav", tone(1, SAMPLE_RATE), subtype=subtype)
    coarse = {"PCM_U8": 1 / 128, "ULAW": 1 / 32}.get(subtype, 2 / 32768)
    assert np.abs(decode(path) / 32768 - tone(1, SAMPLE_RATE)).max() <= coarse


def test_full_scale_is_clipped_never_wrapped():
    assert to_int16(np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0])).tolist() == [-32768, -32768, 0, 16384, 32767, 32767]


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 10, 15])
def test_fit_cuts_around_the_centre_and_pads_the_end(length):
    for size in range(12):
        clip = np.arange(1, size + 1)
        found = fit(clip, length).tolist()
        if size <= length:
            assert found == clip.tolist() + [0] * (length - size)
        else:
            before, after = found[0] - 1, size - found[-1]  # samples cut away
            assert found == list(range(found[0], found[0] + length))
            assert 0 <= after - before <= 1


@pytest.mark.parametrize(("offset", "duration"), [(0, None), (0, 3.0), (0.4, 2.2001), (1.0, 1.5)])
def test_decoding_the_centre_is_decoding_all_and_cutting(tmp_path, offset, duration):
    path = wav(tmp_path / "a.flac")
    whole = decode(path, offset, duration)
    assert np.array_equal(fit(decode(path, offset, duration, longest=1.0), 16_000), fit(whole, 16_000))
    assert np.array_equal(decode(path, offset, duration, longest=5.0), whole)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
@pytest.mark.parametrize("longest", [0.1, 0.333, 1.0])
def test_the_centre_is_never_too_short_at_any_rate(tmp_path, rate, longest):
    path = wav(tmp_path / "a.wav", tone(2, rate), rate)
    part, whole = decode(path, longest=longest) / 32768, decode(path) / 32768
    length = round(longest * SAMPLE_RATE)
    assert length <= len(part) <= length + 3
    # The same stretch of the tone, up to the rounding of both centres: at most two samples.
    middle = fit(part, length)[length // 4:-length // 4]
    assert min(np.abs(middle - np.roll(fit(whole, length), shift)[length // 4:-length // 4]).max()
               for shift in (-2, -1, 0, 1, 2)) < 0.05


# -- what cannot be used

def test_bad_audio_is_named_with_its_reason(tmp_path):
    good = wav(tmp_path / "good.wav")
    cases = {"nowhere.wav": "no such audio file"}

    def case(name, content, reason):
        (tmp_path / name).write_bytes(content)
        cases[name] = reason

    case("empty.wav", b"", "it is empty")
    case("text.wav", b"not audio at all", "cannot be decoded")
    case("bare.raw", bytes(100), "cannot be decoded")
    case("caf\udce9.wav", Path(good).read_bytes(), "not valid UTF-8")
    flac = Path(wav(tmp_path / "whole.flac")).read_bytes()
    case("half.flac", flac[:len(flac) // 2], "cannot be decoded")
    endless = bytearray(flac)
    endless[21] &= 0xf0  # the 36 bits of STREAMINFO that count the samples; 0 is "unknown"
    endless[22:26] = bytes(4)
    case("endless.flac", bytes(endless), "does not say how long")
    mp3 = Path(wav(tmp_path / "whole.mp3")).read_bytes()
    case("half.mp3", mp3[:len(mp3) // 2], "ends early")
    wav(tmp_path / "none.wav", np.zeros(0))
    wav(tmp_path / "silent.wav", np.zeros(16_000))
    wav(tmp_path / "nan.wav", np.where(np.arange(16_000) == 7_000, np.nan, 0.1), subtype="FLOAT")
    wav(tmp_path / "inf.wav", np.where(np.arange(16_000) == 7_000, np.inf, 0.1), subtype="DOUBLE")
    (tmp_path / "folder.wav").mkdir()
    cases |= {"none.wav": "has no audio", "silent.wav": "silent to the bit", "nan.wav": "not numbers",
              "inf.wav": "not numbers", "folder.wav": "cannot be decoded"}
    for name, reason in cases.items():
        with pytest.raises(UserError) as error:
            decode(str(tmp_path / name))
        assert reason in str(error.value), name
        assert name.encode("ascii", "backslashreplace").decode() in str(error.value)
        assert "\n" not in str(error.value)


def test_offset_past_the_end_and_parts_without_sound(tmp_path):
    samples = NOISE.copy()
    samples[16_000:32_000] = 0
    path = wav(tmp_path / "a.wav", samples)
    with pytest.raises(UserError, match="offset 3 s is past its end at 3 s"):
        decode(path, 3.0, 1.0)
    with pytest.raises(UserError, match="silent to the bit from 1 s to 2 s"):
        decode(path, 1.0, 1.0)
    with pytest.raises(UserError, match="less than one sample"):
        decode(path, 0.0, 1e-6)
    assert len(decode(path, 2.99, 1.0)) == 160
