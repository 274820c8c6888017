"""What lies below a folder: every file is found or named, and nothing is waited for."""

import os
import socket

import pytest

from data.base.errors import UserError
from data.base.find import GONE, NO_FILE, shown, walk


def kinds(problems, folder):
    return {(kind, os.path.relpath(path, folder)) for kind, path, _ in problems}


def test_files_at_any_depth_links_followed_once_and_dead_ones_named(tmp_path):
    for name in ("a.wav", "x/y/b.WAV", ".hidden.wav", "d.txt"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text("")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "linked").symlink_to(tmp_path / "data")
    (corpus / "circle").symlink_to(corpus)
    for name, target in {"dead.wav": "nowhere", "part": "gone", "loop.wav": "loop.wav", "one": "two", "two": "one",
                         "dead.txt": "nowhere"}.items():
        (corpus / name).symlink_to(target)
    found, problems = walk(corpus, (".wav",))
    assert sorted(entry.name for entry in found) == ["a.wav", "b.WAV"]
    assert kinds(problems, corpus) == {
        (GONE, name) for name in ("dead.wav", "part", "dead.txt", "loop.wav", "one", "two")}


def test_what_a_killed_download_left_is_not_taken_for_data(tmp_path):
    (tmp_path / ".unpacking-a.tar.gz").mkdir()
    (tmp_path / ".unpacking-a.tar.gz" / "a.wav").write_text("")
    found, problems = walk(tmp_path, (".wav",))
    assert not found and kinds(problems, tmp_path) == {("unfinished downloads", ".unpacking-a.tar.gz")}


def test_pipes_sockets_and_devices_are_named(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.wav")
    os.mkfifo(tmp_path / "other")  # none of ours
    (tmp_path / "null.wav").symlink_to(os.devnull)
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket.wav")
    (tmp_path / "folder.wav").mkdir()
    found, problems = walk(tmp_path, (".wav",))
    assert not found
    assert {(os.path.basename(path), detail) for kind, path, detail in problems if kind == NO_FILE} == {
        ("pipe.wav", "it is a named pipe"), ("null.wav", "it is a device"), ("socket.wav", "it is a socket")}


def test_names_that_are_not_utf8_are_named_printably(tmp_path):
    inside = os.path.join(os.fsencode(tmp_path), "für".encode("latin-1"))
    os.mkdir(inside)
    for name in (b"a.wav", b"M\xfcller.txt"):
        open(os.path.join(inside, name), "w").close()
    found, problems = walk(tmp_path, (".wav",))
    assert not found
    assert problems == [("names that are not UTF-8", f"{tmp_path}/f\\udcfcr/a.wav", "rename it")]
    assert shown("für/a.wav") == "für/a.wav"


def test_a_folder_that_cannot_be_entered_is_named(tmp_path, monkeypatch):
    for name in ("open", "closed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.wav").write_text("")
    scandir = os.scandir  # root enters any folder

    def refusing(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found, problems = walk(tmp_path, (".wav",))
    assert [entry.name for entry in found] == ["open.wav"]
    assert kinds(problems, tmp_path) == {("folders that cannot be entered", "closed")}
    with pytest.raises(UserError, match="closed: cannot be read"):
        walk(tmp_path / "closed", (".wav",))
    with pytest.raises(UserError, match="nowhere: cannot be read"):
        walk(tmp_path / "nowhere", (".wav",))
