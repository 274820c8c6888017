"""Sound that a header says nothing of is heard, or told; noise at any depth is found, without what hides."""

import numpy as np
import pytest
import soundfile

from data.audio.decoding import decode, decode_with_remarks
from data.audio.files import GOES_ON, find_noise
from data.base.errors import UserError
from data.folder.word_stretch import examine
from spotting.sound.blocks import files_of, open_file
from tests.conftest import hiss, record

KINDS = [("wav", "WAV", "PCM_16"), ("wav", "RF64", "PCM_16"), ("flac", "FLAC", "PCM_16"), ("ogg", "OGG", "VORBIS"),
         ("opus", "OGG", "OPUS"), ("mp3", "MP3", "MPEG_LAYER_III")]


def told(path):
    lines = []
    sound = open_file(path, lines.append)
    seconds = sum(map(len, sound.blocks)) / 16_000
    assert sound.whole == (not lines)
    return seconds, lines


def made(path, seconds=3.0, **how):
    return record(path, hiss(seconds), **how).read_bytes()


def without_length(data):
    """An MP3 file without its first frame, which has nothing but the length, as recorders that write a stream leave."""
    frame = data.index(b"\xff\xf3", 4)  # of 16 kHz
    return data[frame:]


@pytest.mark.parametrize(("ending", "container", "subtype"), KINDS)
def test_of_joined_files_the_first_is_heard_and_that_is_told(tmp_path, ending, container, subtype):
    path = tmp_path / f"a.{ending}"
    data = made(path, format=container, subtype=subtype)
    assert told(path) == (pytest.approx(3.0, abs=0.1), [])
    assert decode_with_remarks(str(path))[1] == []
    path.write_bytes(data + data)
    if container == "WAV":  # libsndfile refuses it
        with pytest.raises(UserError, match="cannot be decoded"):
            told(path)
        return
    seconds, lines = told(path)
    assert seconds == pytest.approx(3.0, abs=0.1)
    assert [f"{path}: goes on after the 3.0 s" in line for line in lines] == [True]
    assert GOES_ON in examine([str(path)], 1.0)[0].remarks
    assert decode_with_remarks(str(path))[1] == [GOES_ON]


@pytest.mark.parametrize("follows", ["noise", "silence"])
def test_a_header_that_gives_less_than_there_is(tmp_path, follows):
    samples = np.concatenate([hiss(1.0), hiss(2.0) if follows == "noise" else np.zeros(32_000)])
    for path in (record(tmp_path / "a.wav", samples, subtype="PCM_16"), record(tmp_path / "a.flac", samples)):
        data = bytearray(path.read_bytes())
        if path.suffix == ".wav":
            at = data.index(b"data") + 4
            data[at:at + 4] = (32_000).to_bytes(4, "little")
        else:
            data[22:26] = (16_000).to_bytes(4, "big")
        path.write_bytes(data)
        seconds, lines = told(path)
        assert seconds == 1.0
        assert len(lines) == 1


def test_an_mp3_without_a_length_is_heard_to_its_end(tmp_path):
    samples = np.concatenate([hiss(2.0), hiss(20.0, level=2e-4), hiss(1.0)])  # at first larger frames than later
    path = record(tmp_path / "a.mp3", samples, bitrate_mode="VARIABLE", compression_level=0.3)
    with_length = decode(str(path)).astype(float)
    path.write_bytes(without_length(path.read_bytes()))
    with soundfile.SoundFile(path) as file:
        assert file.frames < 20 * 16_000  # what libsndfile guesses
    seconds, lines = told(path)
    assert (seconds, lines) == (pytest.approx(23.0, abs=0.2), [])
    whole = decode(str(path)).astype(float)
    delay = int(np.argmax(np.correlate(whole[:20_000], with_length[:16_000], "valid")))
    ends = slice(-16_000, -2_000)
    assert np.corrcoef(whole[delay:][:len(with_length)][ends], with_length[ends])[0, 1] > 0.99
    for start in (0.0, 1.3, 21.7):  # parts are what the whole has there
        part = slice(round(start * 16_000), round(start * 16_000) + 16_000)
        np.testing.assert_allclose(decode(str(path), start, 1.0), whole[part], atol=1)
    path.write_bytes(path.read_bytes() * 2)
    assert told(path) == (pytest.approx(46.0, abs=0.4), [])


@pytest.mark.parametrize(("ending", "subtype"), [("mp3", "MPEG_LAYER_III"), ("ogg", "VORBIS"), ("opus", "OPUS")])
def test_a_lossy_file_cut_short_is_heard_so_far_and_is_no_clip(tmp_path, ending, subtype):
    path = tmp_path / f"a.{ending}"
    data = made(path, 12.0, format="MP3" if ending == "mp3" else "OGG", subtype=subtype)
    path.write_bytes(data[:len(data) * 6 // 10])
    seconds, lines = told(path)
    assert 5 < seconds < 8
    assert ["ends early" in line for line in lines] == [True]
    assert "ends early" in examine([str(path)], 1.0)[0]
    with pytest.raises(UserError, match="ends early"):
        decode(str(path))


def test_titles_before_or_at_the_end_are_no_sound(tmp_path):
    path = record(tmp_path / "a.flac", hiss(3.0))
    path.write_bytes(b"ID3\x04\0\0\0\0\0\x40" + bytes(64) + path.read_bytes())
    assert told(path) == (3.0, [])
    for ending in ("mp3", "wav"):
        path = record(tmp_path / f"a.{ending}", hiss(3.0))
        path.write_bytes(path.read_bytes() + b"TAG" + bytes(125))
        assert told(path)[1] == []
    with soundfile.SoundFile(tmp_path / "b.wav", "w", 16_000, 1) as file:
        file.title = "x" * 9000
        file.write(hiss(1.0))
    assert told(tmp_path / "b.wav")[1] == []


def test_recordings_in_formats_of_phones_are_told_with_the_way_out(tmp_path):
    with pytest.raises(UserError, match="no audio file"):
        files_of([tmp_path], "--background", pytest.fail)
    for name in ("a.m4a", "b.webm"):
        (tmp_path / name).write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    with pytest.raises(UserError, match=r"2 in formats that cannot be read, such as .*a\.m4a.*ffmpeg"):
        files_of([tmp_path], "--background", pytest.fail)
    lines = []
    path = record(tmp_path / "c.wav")
    assert files_of([tmp_path], "--background", lines.append) == [str(path)]
    assert len(lines) == 1
    (tmp_path / "d e.wav").write_bytes((tmp_path / "a.m4a").read_bytes())
    with pytest.raises(UserError, match=r"cannot be decoded .*; convert it.*ffmpeg -i '.*d e\.wav'"):
        decode(str(tmp_path / "d e.wav"))


def test_noise_is_found_in_sub_folders_and_hidden_files_are_not(tmp_path):
    found = [record(tmp_path / name) for name in ("b.wav", "a/free-sound/hum.flac", "A.WAV")]
    for name in ("._b.wav", "README.md", "a/call.m4a", ".hidden/x.wav", "song.aac"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    assert find_noise(tmp_path) == sorted(found)
    assert find_noise(tmp_path / "nowhere") == []
