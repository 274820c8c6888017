"""What lies in a folder of word folders is found, and what is left out is counted by kind."""

import os

import pytest

from data.base.errors import UserError
from data.sources.word_folders import NOISE, find_words


def put(path, data=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


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


def test_a_closed_folder_is_an_error(tmp_path, monkeypatch):
    closed = put(tmp_path / "yes" / "anna" / "1.wav").parent
    put(tmp_path / "no" / "1.wav")
    scandir = os.scandir

    def refuse(folder):
        if os.fspath(folder) == str(closed):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read everything
    with pytest.raises(UserError, match=r"yes/anna: cannot be read \(Permission denied\)"):
        find_words(tmp_path)
