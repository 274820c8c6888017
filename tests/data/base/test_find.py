"""What lies below a folder: every file is found or named, and nothing is waited for.

Folders of splits, folds or speakers are not taken for words; words that are called so are.
"""

import os
import re
import socket
from pathlib import Path

import pytest

from data.audio.files import find_noise
from data.base.errors import UserError
from data.base.find import GONE, NO_FILE, NOISE, doubt_words, find_words, shown, walk


def put(path, data=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def kinds(problems, folder):
    return {(kind, os.path.relpath(path, folder)) for kind, path, _ in problems}


def test_files_at_any_depth_links_followed_once_and_dead_ones_named(tmp_path):
    for name in ("a.wav", "x/y/b.WAV", ".hidden.wav", "d.txt"):
        put(tmp_path / "data" / name)
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
    put(tmp_path / ".unpacking-a.tar.gz" / "a.wav")
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
    for name in (b"a.wav", b"M\xfcller.txt"):
        put(tmp_path / os.fsdecode("für".encode("latin-1")) / os.fsdecode(name))
    found, problems = walk(tmp_path, (".wav",))
    assert not found
    assert problems == [("names that are not UTF-8", f"{tmp_path}/f\\udcfcr/a.wav", "rename it")]
    assert shown("für/a.wav") == "für/a.wav"


def names(found, root):
    return [(word, os.path.relpath(path, root)) for word, path in found.files]


def test_files_of_word_folders_at_any_depth_and_what_is_left_out_by_kind(tmp_path):
    root = tmp_path / "r"
    for name in ("yes/2.wav", "yes/1.wav", "yes/anna/1.wav", "yes/._1.wav", "README", ".git/config", "no/1.wav",
                 f"{NOISE}/hum.wav"):
        put(root / name)
    (root / "empty").mkdir()
    (root / "yes" / "gone.wav").symlink_to(root / "nowhere.wav")
    (root / "yes" / "round.wav").symlink_to(root / "yes" / "round.wav")
    os.mkfifo(root / "no" / "pipe.wav")
    put(root / "no" / os.fsdecode(b"M\xfcller.wav"))
    found = find_words(root)
    assert names(found, root) == [("no", "no/1.wav"), ("yes", "yes/1.wav"), ("yes", "yes/2.wav"),
                                  ("yes", "yes/anna/1.wav")]
    assert found.noise == root / NOISE and found.folders == {"no": ["no"], "yes": ["yes"]}
    counts = {kind: len(paths) for kind, paths in found.left_out.items()}
    assert counts == {"files in no word folder": 1, "word folders without a file": 1, "names that are not UTF-8": 1,
                      "entries that cannot be reached": 2, "entries that are no files": 1}
    "".join(path for paths in found.left_out.values() for path in paths).encode()  # can be printed


def test_links_are_followed_but_not_in_circles(tmp_path):
    root, elsewhere = tmp_path / "r", tmp_path / "elsewhere"
    put(elsewhere / "far.wav")
    put(root / "yes" / "1.wav")
    (root / "yes" / "more").symlink_to(elsewhere)
    (root / "yes" / "2.wav").symlink_to(elsewhere / "far.wav")
    (root / "yes" / "up").symlink_to("..")
    (elsewhere / "back").symlink_to(root / "yes")
    (root / "no").symlink_to(elsewhere)
    found = find_words(root)
    assert names(found, root) == [("no", "no/far.wav"), ("no", "no/back/1.wav"), ("no", "no/back/2.wav"),
                                  ("yes", "yes/1.wav"), ("yes", "yes/2.wav"), ("yes", "yes/more/far.wav")]


@pytest.mark.parametrize(("name", "complaint"), [(b"a\nb", "control characters"), (b"a\x1b[2J", "control characters"),
                                                 (b" ", "is blank"), (b"gr\xf6\xdf", "not valid UTF-8")])
def test_folders_whose_names_are_no_labels(tmp_path, name, complaint):
    put(tmp_path / os.fsdecode(name) / "1.wav")
    with pytest.raises(UserError, match=complaint) as caught:
        find_words(tmp_path)
    str(caught.value).encode()


def test_a_folder_that_cannot_be_entered_is_named_or_an_error(tmp_path, monkeypatch):
    for name in ("open/open.wav", "yes/closed/closed.wav"):
        put(tmp_path / name)
    scandir = os.scandir  # root enters any folder

    def refusing(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found, problems = walk(tmp_path, (".wav",))
    assert [entry.name for entry in found] == ["open.wav"]
    assert kinds(problems, tmp_path) == {("folders that cannot be entered", "yes/closed")}
    for work, folder in ((walk, tmp_path / "yes" / "closed"), (find_words, tmp_path), (find_noise, tmp_path)):
        with pytest.raises(UserError, match=r"yes/closed: .*cannot be read \(Permission denied\)"):
            work(folder)
    with pytest.raises(UserError, match="nowhere: cannot be read"):
        walk(tmp_path / "nowhere", (".wav",))


ROOT = Path("/r")


def files(*folders):
    """Ten files in each folder."""
    return [(folder.split("/")[0], f"/r/{folder}/{i}.wav") for folder in folders for i in range(10)]


@pytest.mark.parametrize("folders", [
    ("train/alfa", "train/bravo", "dev/alfa", "dev/bravo", "test/alfa"), ("fold1/alfa", "fold2/alfa", "fold1/bravo"),
    ("Training/a", "Validation/a", "Testing/b"), ("train", "test"), ("train-clean-100/1034", "dev_clean/84"),
    ("wake-word", "not-wake-word", "test/wake-word", "test/not-wake-word"), ("cv_0/a", "cv_1/a"), ("test/a", "test/b"),
    ("train/a", "valid/a", "a")])
def test_splits_are_refused(folders):
    with pytest.raises(UserError, match="splits of the data"):
        doubt_words(files(*folders), ROOT)


@pytest.mark.parametrize("folders", [
    ("alfa", "bravo"), ("alfa/anna", "bravo/ben"), ("part", "whole"), ("one", "two", "three"),
    ("alfa", "bravo", "alfa/anna", "bravo/anna")])
def test_words_are_words(folders):
    assert doubt_words(files(*folders), ROOT) is None


@pytest.mark.parametrize(("folders", "part"), [
    (("a/anna", "a/ben", "b/anna", "b/ben"), "'anna', 'ben'.*--speaker_regex"),
    (("test", "train", "car"), "'test', 'train'"),
    (("test/anna", "test/ben", "train/anna", "train/ben", "car/anna", "car/ben"), "'anna', 'ben'.*--speaker_regex")])
def test_what_may_be_speakers_or_splits_is_said_but_taken(folders, part):
    assert re.search(part, doubt_words(files(*folders), ROOT))
