"""Sound comes out the same whatever the blocks; what is wrong with it is told."""

import io

import numpy as np
import pytest
import soundfile

from data.audio.decoding import decode
from data.base.errors import UserError
from spotting.sound.blocks import file_format, files_of, open_file, open_raw, windows
from tests.conftest import hiss, record


def heard(sound):
    return np.concatenate([np.zeros(0, np.int16), *sound.blocks])


@pytest.mark.parametrize(("rate", "channels", "ending"), [(16_000, 1, "wav"), (8_000, 1, "wav"), (44_100, 2, "flac"),
                                                          (48_000, 6, "wav"), (11_025, 1, "ogg")])
@pytest.mark.parametrize("block", [0.013, 0.5, 100])
def test_a_file_in_blocks_is_the_file_decoded(tmp_path, rate, channels, ending, block):
    path = record(tmp_path / f"a.{ending}", np.stack([hiss(1.7, rate)] * channels, 1), rate)
    assert np.array_equal(heard(open_file(path, pytest.fail, block=block)), decode(str(path)))


def test_one_channel_is_the_file_of_that_channel(tmp_path):
    samples = np.random.default_rng(0).integers(-9000, 9000, (7001, 3), np.int16)
    many = record(tmp_path / "many.wav", samples, 22_050, subtype="PCM_16")
    for channel in (1, 2, 3):
        one = decode(str(record(tmp_path / "one.wav", samples[:, channel - 1], 22_050, subtype="PCM_16")))
        assert np.array_equal(decode(str(many), channel=channel), one)
        assert np.array_equal(heard(open_file(many, pytest.fail, channel=channel)), one)
        raw = io.BytesIO(samples.tobytes())
        assert np.array_equal(heard(open_raw(raw, "-", 22_050, 3, "s16", pytest.fail, channel=channel)), one)
    for call in (lambda: decode(str(many), channel=4), lambda: open_file(many, pytest.fail, channel=4),
                 lambda: open_raw(io.BytesIO(), "many", 22_050, 3, "s16", pytest.fail, channel=4)):
        with pytest.raises(UserError, match=r"many.*--channel 4.* has 3 channels"):
            call()


@pytest.mark.parametrize("size", [1, 1001, 100_000])
def test_raw_samples_are_the_file_and_half_a_sample_at_the_end_is_told(tmp_path, size):
    samples = np.random.default_rng(0).integers(-9000, 9000, (7001, 2), np.int16)
    path, told = record(tmp_path / "a.wav", samples, 22_050, subtype="PCM_16"), []
    stream = io.BytesIO(samples.tobytes() + b"\1")
    stream.read1 = lambda _: stream.read(size)
    assert np.array_equal(heard(open_raw(stream, "-", 22_050, 2, "s16", told.append)), decode(str(path)))
    assert len(told) == 1 and "middle of a sample" in told[0]


def test_a_file_cut_short_is_heard_up_to_there_and_told(tmp_path):
    path = record(tmp_path / "a.flac", hiss(4.0))
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    found = []
    with pytest.raises(UserError, match=str(path)):
        for block in open_file(path, pytest.fail).blocks:
            found.append(block)
    assert len(found) == 1


def test_what_is_no_sound_for_a_listener(tmp_path):
    loud, broken, told, one = 3000 * hiss(1.0), hiss(3.0), [], hiss(1.0)
    broken[40_000] = np.nan
    for samples, message in ((loud, "times full scale"), (broken, r"a\.wav.*2\.50 s")):
        with pytest.raises(UserError, match=message):
            heard(open_file(record(tmp_path / "a.wav", samples, subtype="FLOAT"), pytest.fail))
    heard(open_file(record(tmp_path / "b.wav", np.stack([one, -one], 1)), told.append))
    assert len(told) == 1 and "cancel out" in told[0]


def test_a_stretch_of_a_file(tmp_path):
    path = record(tmp_path / "a.wav", hiss(3.0), subtype="PCM_16")
    whole = decode(str(path))
    assert np.array_equal(heard(open_file(path, pytest.fail, 0.5, 1.25, 0.1)), whole[8_000:20_000])
    assert np.array_equal(heard(open_file(path, pytest.fail, 2.5, 9.0)), whole[40_000:])


def test_files_and_folders_in_order(tmp_path):
    for name in ("b/2.flac", "b/c/1.wav", "a.ogg"):
        record(tmp_path / name)
    (tmp_path / "b" / "notes.txt").touch()
    assert files_of([tmp_path / "b", tmp_path / "a.ogg"], "x", pytest.fail) == [str(tmp_path / n) for n in
                                                                      ("b/2.flac", "b/c/1.wav", "a.ogg")]
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.m4a").touch()
    for path, message in ((tmp_path / "no", "no such"), (tmp_path / "d", "no audio file .* but 1 in formats .*ffmpeg")):
        with pytest.raises(UserError, match=message):
            files_of([path], "x", pytest.fail)


@pytest.mark.parametrize(("length", "hop"), [(100, 10), (100, 30), (100, 100), (7, 3)])
@pytest.mark.parametrize("total", [1, 6, 7, 99, 100, 101, 110, 1000, 1009])
def test_windows_lie_on_a_grid_in_silence_around_the_sound(length, hop, total):
    samples = np.arange(1, total + 1, dtype=np.int16)
    early = length // 2 // hop
    padded = np.pad(samples, (early * hop, length + hop + early * hop))
    count = max(0, -(-(total + 2 * early * hop - length) // hop)) + 1
    wanted = [padded[i * hop:i * hop + length] for i in range(count)]
    for batch in (1, 4, 64):
        for block in (1, 13, 5000):
            blocks = (samples[i:i + block] for i in range(0, total, block))
            found = list(windows(blocks, length, hop, batch))
            assert [first for first, _ in found] == list(range(-early, count - early, batch))
            assert np.array_equal(np.concatenate([clips for _, clips in found]), wanted)


def test_files_are_told_from_samples():
    for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "W64", "RF64"):
        file = io.BytesIO()
        soundfile.write(file, hiss(1.0), 16_000, format=kind)
        assert file_format(file.getvalue()[:8000])
        file.seek(0)
        with pytest.raises(UserError, match=kind):
            heard(open_raw(file, "-", 16_000, 1, "s16", pytest.fail))
    assert file_format(b"\0\0\0\x20ftypM4A " + bytes(100)) == "MP4"


@pytest.mark.parametrize("level", [0.0, 2.0, 300.0, 9000.0])
def test_samples_are_not_taken_for_a_file(level):
    rng = np.random.default_rng(int(level))
    for _ in range(100):
        assert file_format(rng.normal(0, level, 2048).round().clip(-32768, 32767).astype("<i2").tobytes()) is None
        assert file_format((rng.normal(0, level, 1024) / 32768).astype("<f4").tobytes()) is None
