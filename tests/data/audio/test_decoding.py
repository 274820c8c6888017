"""Clips are the right samples of the right file, whatever its format, at a level that loses nothing."""

import os
import socket
import struct
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.audio import decoding
from data.audio.decoding import SAMPLE_RATE, decode, decode_with_remarks, fit, open_audio
from data.base.errors import UserError

RNG = np.random.default_rng(0)
NOISE = RNG.integers(-20_000, 20_000, 48_000).astype(np.int16)  # three seconds


def tone(seconds, rate, hertz=440.0, level=0.5):
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def wav(path, samples=NOISE, rate=SAMPLE_RATE, **how):
    soundfile.write(path, samples, rate, **how)
    return str(path)


def test_16_khz_int16_is_taken_as_it_is_and_lossy_formats_come_near(tmp_path):
    for path in (wav(tmp_path / "a.wav"), wav(tmp_path / "a.flac")):
        assert np.array_equal(decode(path), NOISE)
        assert np.array_equal(decode(path, 0.5, 0.25), NOISE[8_000:12_000])
        assert np.array_equal(decode(path, 2.5, 9.0), NOISE[40_000:])  # to the end when there is no more
    sound, inside = tone(1, SAMPLE_RATE), slice(2_000, 14_000)
    for path in (wav(tmp_path / "a.ogg", sound), wav(tmp_path / "a.mp3", sound)):
        assert len(decode(path)) == SAMPLE_RATE
        assert np.abs(decode(path)[inside] / 32768 - sound[inside]).max() < 0.02


@pytest.mark.parametrize(("rate", "mode"), [(44_100, "VARIABLE"), (32_000, None)])
def test_parts_and_blocks_of_an_mp3_are_what_the_whole_has_there(tmp_path, rate, mode):
    """After a seek, and after every read, some 35 ms of an MP3 were those of another signal, as loud as the rest."""
    t = np.arange(8 * rate) / rate
    sweep = 0.4 * np.sin(2 * np.pi * (200 * t + 150 * t ** 2)) * (1 + np.sin(2 * np.pi * 3 * t)) / 2
    how = {} if mode is None else {"bitrate_mode": mode, "compression_level": 0.5}
    soundfile.write(tmp_path / "a.mp3", sweep, rate, **how)
    whole = soundfile.read(tmp_path / "a.mp3", dtype="float32")[0]
    with open_audio(str(tmp_path / "a.mp3")) as file:
        blocks = [file.read(size, dtype="float32") for size in (1, 999, *[10_001] * (len(whole) // 10_001 + 1))]
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-6)
    soundfile.write(tmp_path / "whole.wav", whole, rate, "FLOAT")
    for start in np.arange(0, 7.5, 0.37):
        part, wanted = (decode(str(tmp_path / name), start, 0.5).astype(int) for name in ("a.mp3", "whole.wav"))
        np.testing.assert_allclose(part, wanted, atol=1, err_msg=str(start))


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "ULAW"])
def test_sample_types_agree(tmp_path, subtype):
    path = wav(tmp_path / "a.wav", tone(1, SAMPLE_RATE), subtype=subtype)
    coarse = {"PCM_U8": 1 / 128, "ULAW": 1 / 32}.get(subtype, 2 / 32768)
    assert np.abs(decode(path) / 32768 - tone(1, SAMPLE_RATE)).max() <= coarse


def test_fit_cuts_around_the_centre_and_pads_the_end():
    for length, size in product((1, 2, 7, 8, 9, 10, 15), range(12)):
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


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100])
def test_resampling_keeps_pitch_level_and_length_also_of_the_centre(tmp_path, rate):
    path = wav(tmp_path / "a.wav", tone(2, rate), rate)
    whole = decode(path) / 32768
    assert abs(len(whole) - 2 * SAMPLE_RATE) <= 1
    inside = slice(1_000, 31_000)  # a tone that starts at once rings at its ends
    assert np.abs(whole[inside] - tone(2, SAMPLE_RATE)[inside]).max() < 0.01
    for longest in (0.1, 0.333, 1.0):
        part, length = decode(path, longest=longest) / 32768, round(longest * SAMPLE_RATE)
        assert length <= len(part) <= length + 3
        # The same stretch of the tone, up to the rounding of both centres: at most two samples.
        middle = fit(part, length)[length // 4:-length // 4]
        assert min(np.abs(middle - np.roll(fit(whole, length), shift)[length // 4:-length // 4]).max()
                   for shift in (-2, -1, 0, 1, 2)) < 0.05


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
    case("two.wav", Path(good).read_bytes()[:46], "header says 96,000 bytes of audio, but it has 2; is the file")
    broken_off = bytearray(Path(good).read_bytes())
    broken_off[40:44] = bytes(4)
    case("broken_off.wav", bytes(broken_off), "has no audio in it, its header says, though it is not empty")
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
    path, fast = wav(tmp_path / "a.wav", samples), wav(tmp_path / "fast.wav", np.ones(200) / 2, 48_000)
    for file, offset, duration, message in (
            (path, 3.0, 1.0, "offset 3 s is past its end at 3 s"), (path, 1.0, 1.0, "silent to the bit from 1 s to 2"),
            (path, 0.0, 1e-6, "less than one sample"), (fast, 0.001, 1 / 48_000, "less than one sample")):  # of 16 kHz
        with pytest.raises(UserError, match=message):
            decode(file, offset, duration)
    assert len(decode(path, 2.99, 1.0)) == 160


@pytest.mark.parametrize(("container", "subtype"), [
    ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("WAV", "IMA_ADPCM"), ("WAV", "GSM610"),
    ("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "PCM_16"),
    ("CAF", "PCM_16"), ("SVX", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"),
    ("MP3", "MPEG_LAYER_III")])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_file_cut_short_is_refused_a_whole_one_is_not(tmp_path, container, subtype, share):
    path = Path(wav(tmp_path / "a.x", 0.5 * tone(2, SAMPLE_RATE), format=container, subtype=subtype))
    assert abs(len(decode(str(path))) - 2 * SAMPLE_RATE) < 1100  # blocks of ADPCM
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=r"a\.x: (ends early|cannot be decoded|has no audio)"):
        decode(str(path))


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000])
def test_a_wav_written_to_a_pipe_is_read_to_its_end(tmp_path, size):
    path = Path(wav(tmp_path / "a.wav"))
    head, samples = path.read_bytes()[:40], path.read_bytes()[44:]
    path.write_bytes(head[:4] + struct.pack("<I", size) + head[8:] + struct.pack("<I", size) + samples)
    assert np.array_equal(decode(str(path)), NOISE)
    content = Path(wav(path)).read_bytes() + b"LIST" + struct.pack("<I", 400) + b"INFO"  # of 400 bytes, which may lack
    path.write_bytes(content[:4] + struct.pack("<I", len(content) - 8 + 396) + content[8:])
    assert np.array_equal(decode(str(path)), NOISE)


@pytest.mark.parametrize(("container", "subtype"), [("WAV", "GSM610"), ("WAV", "G721_32"), ("WAV", "NMS_ADPCM_32"),
                                                    ("AU", "G723_40"), ("RAW", "VOX_ADPCM")])
def test_telephone_formats_that_cannot_be_rewound_give_any_part(tmp_path, container, subtype):
    name = "a.vox" if container == "RAW" else "a.x"
    path = wav(tmp_path / name, tone(2, 8_000), 8_000, format=container, subtype=subtype)
    whole = decode(path)
    for offset, duration in ((0.0, 0.5), (0.5, 0.25), (1.5, 0.4)):
        part = decode(path, offset, duration)
        start = round(offset * SAMPLE_RATE)
        assert len(part) == round(duration * SAMPLE_RATE)
        inside = slice(200, -200)  # resampling rings where a part begins
        assert np.abs(part.astype(int) - whole[start:start + len(part)])[inside].max() < 400


def test_what_is_no_file_is_refused_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    (tmp_path / "b.wav").symlink_to("/dev/zero")
    (tmp_path / "c.wav").symlink_to("c.wav")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "d.wav"))
        for name, reason in (("a", "a named pipe"), ("b", "a device"), ("c", "symbolic links"), ("d", "a socket")):
            with pytest.raises(UserError, match=rf"{name}\.wav: cannot be decoded \(.*{reason}"):
                decode(str(tmp_path / f"{name}.wav"))


@pytest.mark.parametrize(("subtype", "scale"), [("FLOAT", 32_767), ("DOUBLE", 2.0**31), ("FLOAT", 12), ("FLOAT", 2.0)])
def test_samples_beyond_full_scale_are_scaled_never_clipped(tmp_path, subtype, scale):
    sound = 0.9 * tone(1, SAMPLE_RATE) + 0.1 * tone(1, SAMPLE_RATE, 1_234)
    found, remarks = decode_with_remarks(wav(tmp_path / "a.wav", scale * sound / np.abs(sound).max(), subtype=subtype))
    assert np.abs(found / 32768 - sound / np.abs(sound).max()).max() < 2 / 32768
    assert remarks == [decoding.LOUD]


@pytest.mark.parametrize(("subtype", "peak"), [("PCM_24", 1e-4), ("PCM_24", 2.0**-9), ("PCM_32", 2.0**-16),
                                               ("FLOAT", 1e-6)])
def test_what_is_too_quiet_for_16_bits_keeps_its_levels(tmp_path, subtype, peak):
    shape = 2 * tone(1, SAMPLE_RATE)
    found, remarks = decode_with_remarks(wav(tmp_path / "a.wav", peak * shape, subtype=subtype))
    level = np.abs(found).max()
    assert 2**13 <= level <= 2**14
    assert np.abs(found / level - shape).max() < (0.02 if subtype == "PCM_24" else 0.001)  # 1e-4 has 1678 levels
    assert remarks == [decoding.QUIET]


def test_few_levels_are_told(tmp_path):
    for name, samples, how in (("a", RNG.integers(-7, 8, 16_000), {}),
                               ("b", RNG.integers(-7, 8, 16_000) * 2_000, {}),
                               ("c", RNG.integers(-3, 4, 16_000) / 128, {"subtype": "PCM_U8"})):
        samples = samples.astype(np.int16) if not how else samples
        assert decoding.FEW in decode_with_remarks(wav(tmp_path / f"{name}.wav", samples, **how))[1], name
    quiet = (RNG.integers(-3, 4, 16_000) << 8).astype(np.int32)
    assert decode_with_remarks(wav(tmp_path / "d.wav", quiet, subtype="PCM_24"))[1] == [decoding.QUIET, decoding.FEW]
    assert decode_with_remarks(wav(tmp_path / "e.wav"))[1] == []


@pytest.mark.parametrize("how", [{"subtype": "PCM_16"}, {"subtype": "PCM_24"}, {"subtype": "FLOAT"}, {"format": "OGG"},
                                 {"format": "MP3"}])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_much_of_a_word_cut_off_is_told_a_few_samples_are_not(tmp_path, how, rate):
    t = np.arange(rate) / rate
    voice = np.hanning(rate) * sum(np.sin(2 * np.pi * k * (120 * t + 9 * t ** 2) + k * k) / k for k in range(1, 20))
    voice *= 0.99 / np.abs(voice).max()
    for gain, remarks in ((1, []), (1.05, []), (30, [decoding.OVERDRIVEN])):
        path = wav(tmp_path / "a.x", np.clip(gain * voice, -1, 1), rate, **{"format": "WAV"} | how)
        assert decode_with_remarks(path)[1] == remarks, gain


@pytest.mark.parametrize(("value", "level", "message"), [
    (1e12, 1, "is it audio"), (1e300, 1, "not numbers"), (0, 1e-9, "silent to the bit")])
def test_floats_that_are_no_audio_or_next_to_silence_are_refused(tmp_path, value, level, message):
    samples = np.where(np.arange(16_000) == 9, value, level * tone(1, SAMPLE_RATE))
    with pytest.raises(UserError, match=message):
        decode(wav(tmp_path / "a.wav", np.stack([samples, samples], 1), subtype="DOUBLE"))


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize(("first", "cancels"), [(-0.99, True), (-0.9, True), (-0.4, False), (0.0, False), (1.0, False)])
def test_of_channels_that_cancel_out_the_loudest_is_taken(tmp_path, rate, first, cancels):
    sound = tone(1, rate)
    found, remarks = decode_with_remarks(wav(tmp_path / "a.wav", np.stack([first * sound, sound], 1), rate))
    assert remarks == [decoding.CANCELLED] * cancels
    expected = (1.0 if cancels else (1 + first) / 2) * tone(1, SAMPLE_RATE)
    assert np.abs(found / 32768 - expected)[1_000:15_000].max() < 0.01


@pytest.mark.parametrize("channels", [1, 2, 16])
def test_one_channel_that_is_on_and_channels_with_nothing_in_common_are_averaged(tmp_path, channels):
    alone = np.zeros((16_000, channels))
    alone[:, 0] = tone(1, SAMPLE_RATE)
    for samples in (alone, RNG.uniform(-0.5, 0.5, (16_000, channels))):
        found, remarks = decode_with_remarks(wav(tmp_path / "a.wav", samples))
        assert decoding.CANCELLED not in remarks
        assert np.abs(found / 32768 - samples.mean(1)).max() < 1e-4


def test_durations_that_are_as_stated_or_meant_raise_no_suspicion(tmp_path):
    path = wav(tmp_path / "a.wav")  # three seconds
    for offset, duration, expected in ((0.0, 3.0, []), (0.0, 3.015, []), (1.0, 1.5, []), (0.0, 1.1, []),
                                       (0.0, 3.1, [decoding.PAST_END]), (2.5, 1.0, [decoding.PAST_END]),
                                       (2.97, 0.03, [decoding.BRIEF])):
        assert decode_with_remarks(path, offset, duration)[1] == expected, (offset, duration)
    assert decode_with_remarks(path)[1] == []
