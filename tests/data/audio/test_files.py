"""Noise at any depth, without what hides."""

import pytest

from data.audio.files import find_noise
from data.base.errors import UserError
from tests.sounds import record


def test_noise_is_found_in_sub_folders_and_hidden_files_are_not(tmp_path):
    found = [record(tmp_path / name) for name in ("b.wav", "a/free-sound/hum.flac", "A.WAV")]
    for name in ("._b.wav", "README.md", "a/call.m4a", ".hidden/x.wav", "song.aac"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    assert find_noise(tmp_path) == sorted(found)
    assert find_noise(tmp_path / "nowhere") == []


def test_a_closed_folder_is_an_error(tmp_path, monkeypatch):
    record(tmp_path / "a.wav")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(UserError, match=r"cannot be read .Permission denied"):
        find_noise(tmp_path)
