"""Files are whole or not there, and a user's mistake is one line."""

import os
import resource
import subprocess
import sys

import pytest

from data.base.errors import UserError, exit_cleanly
from data.base.files import write_atomically
from data.manifests import ROOT


def test_equal_text_is_equal_bytes_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "new" / "folders" / "ä.txt"
    for content in ("old\n", "größer\n"):
        with write_atomically(path) as file:
            file.write(content)
    assert path.read_bytes() == "größer\n".encode()
    assert [p.name for p in path.parent.iterdir()] == ["ä.txt"]


def test_mode_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with write_atomically(tmp_path / "a", "wb") as file:
            file.write(b"\0")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_no_litter(tmp_path, failure):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(failure), write_atomically(path) as file:
        file.write("half of the new")
        raise failure
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_can_be_written_below_a_file_or_over_a_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/a.json: cannot be written"), write_atomically(tmp_path / "file/a.json"):
        pass
    with pytest.raises(UserError, match="is a folder"), write_atomically(tmp_path):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="choose a folder you can write to"), write_atomically(tmp_path / "a"):
        pass


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)  # a file too large fails as a full disk does
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(UserError, match="make room"), write_atomically(tmp_path / "a", "wb") as file:
            file.write(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("outcome", "code", "line"), [
    (UserError("a.json: broken\nmend it"), 2, "error: a.json: broken mend it\n"), (KeyboardInterrupt(), 130,
                                                                                    "interrupted\n")])
def test_exit_code_and_one_line(capsys, outcome, code, line):
    def main():
        raise outcome
    with pytest.raises(SystemExit) as exit_:
        exit_cleanly(main)
    assert exit_.value.code == code
    assert capsys.readouterr().err == line


def test_exit_code_is_mains_and_our_own_defects_keep_their_traceback():
    for returned, code in ((None, 0), (0, 0), (1, 1)):
        with pytest.raises(SystemExit) as exit_:
            exit_cleanly(lambda returned=returned: returned)
        assert exit_.value.code == code
    with pytest.raises(ZeroDivisionError):
        exit_cleanly(lambda: 1 // 0)
    with pytest.raises(BrokenPipeError):  # of a pipe other than standard output
        exit_cleanly(lambda: (_ for _ in ()).throw(BrokenPipeError()))


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_leaves_ends_it_quietly(lines):
    code = f"from data.base.errors import exit_cleanly; exit_cleanly(lambda: [print(1) for _ in range({lines})] and 0)"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
