"""Files that go on after what is read of them are told from those that do not."""

import numpy as np
import pytest
import soundfile

from spotting.sound.blocks import open_file
from tests.sounds import noise, record


def told(path):
    lines = []
    sound = np.concatenate(list(open_file(path, lines.append).blocks))
    return len(sound) / 16_000, [line for line in lines if "goes on after" in line]


@pytest.mark.parametrize("ending", ["mp3", "ogg", "wav", "flac"])
def test_an_ordinary_file_does_not_go_on(tmp_path, ending):
    assert told(record(tmp_path / f"a.{ending}", noise(3.0))) == (pytest.approx(3.0, abs=0.1), [])


@pytest.mark.parametrize("ending", ["mp3", "ogg"])
def test_files_joined_end_to_end(tmp_path, ending):
    path = record(tmp_path / f"a.{ending}", noise(3.0))
    path.write_bytes(path.read_bytes() + record(tmp_path / f"b.{ending}", noise(2.0)).read_bytes())
    seconds, lines = told(path)
    assert seconds == pytest.approx(3.0, abs=0.1)
    assert len(lines) == 1
    assert f"{path}: goes on after the 3.0 s" in lines[0]


def test_a_header_that_gives_less_than_there_is(tmp_path):
    path = record(tmp_path / "a.wav", noise(3.0), subtype="PCM_16")
    data = path.read_bytes()
    at = data.index(b"data") + 4
    path.write_bytes(data[:at] + (16_000).to_bytes(4, "little") + data[at + 4:])
    seconds, lines = told(path)
    assert seconds == 0.5
    assert len(lines) == 1


def test_titles_at_the_end_are_no_sound(tmp_path):
    for ending in ("mp3", "wav"):
        path = record(tmp_path / f"a.{ending}", noise(3.0))
        path.write_bytes(path.read_bytes() + b"TAG" + bytes(125))
        assert told(path)[1] == []
    with soundfile.SoundFile(tmp_path / "b.wav", "w", 16_000, 1) as file:
        file.title = "x" * 9000
        file.write(noise(1.0))
    assert told(tmp_path / "b.wav")[1] == []
