"""Files are whole or not there, and a user's mistake is one line."""

import errno
import io
import multiprocessing
import os
import random
import resource
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from data.base import files
from data.base.errors import UserError, exit_cleanly, in_a_line
from data.base.files import ROOT, check_name, misshapen, open_regular, read_json, read_npz, read_text, write_atomically


def test_equal_text_is_equal_bytes_replaces_what_was_there_and_follows_the_umask(tmp_path):
    path, before = tmp_path / "new" / "folders" / "ä.txt", os.umask(0o027)
    try:
        for content in ("old\n", "größer\n"):
            with write_atomically(path) as file:
                file.write(content)
    finally:
        os.umask(before)
    assert path.read_bytes() == "größer\n".encode() and path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in path.parent.iterdir()] == ["ä.txt"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_no_litter(tmp_path, failure):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(failure), write_atomically(path) as file:
        file.write("half of the new")
        raise failure
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@contextmanager
def no_more_than(size):
    """Let this process write no more than so many bytes into a file, which fails as on a full disk.

    Not longer than it must: pytest's own output may go to a file.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_exit_code_is_mains_and_our_own_defects_keep_their_traceback():
    for returned, code in ((None, 0), (0, 0), (1, 1)):
        with pytest.raises(SystemExit) as exit_:
            exit_cleanly(lambda returned=returned: returned)
        assert exit_.value.code == code
    with pytest.raises(ZeroDivisionError):
        exit_cleanly(lambda: 1 // 0)
    with pytest.raises(BrokenPipeError):  # of a pipe other than standard output
        exit_cleanly(lambda: (_ for _ in ()).throw(BrokenPipeError()))
    for defect in (OSError("90000 requested and 16352 written"), RuntimeError("shape"), UnicodeEncodeError(
            "ascii", "ü", 0, 1, "x"), ValueError()):
        assert in_a_line(defect) is None


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_leaves_ends_it_quietly(lines):
    code = f"from data.base.errors import exit_cleanly; exit_cleanly(lambda: [print(1) for _ in range({lines})] and 0)"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("write", [
    lambda file: np.save(file, np.zeros(30_000)), lambda file: np.savez(file, a=np.zeros(30_000)),
    lambda file: torch.save({"a": torch.zeros(30_000)}, file)])
@pytest.mark.parametrize("size", [1, 90_000])
def test_a_full_disk_is_one_line_whatever_library_writes(tmp_path, write, size):
    with no_more_than(size), pytest.raises(UserError, match=r"a\.bin: cannot be written .*make room"), \
            write_atomically(tmp_path / "a.bin", "wb") as file:
        write(file)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def odd_files(tmp_path):
    """What is no file, by what messages call it."""
    os.mkfifo(tmp_path / "fifo")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket"))
    yield {"a named pipe": tmp_path / "fifo", "a socket": tmp_path / "socket", "a device": Path("/dev/null"),
           "a folder": tmp_path}
    listening.close()


def test_only_regular_files_are_opened_or_written_over_and_nothing_waits(odd_files):
    for kind, path in odd_files.items():
        with pytest.raises(OSError, match=kind):
            open_regular(path)
        with pytest.raises(UserError, match="cannot read this list"):
            read_text(path, "list")
        before = os.stat(path).st_mode
        with pytest.raises(UserError, match=f"is {kind}"), write_atomically(path):
            pass
        assert os.stat(path).st_mode == before


def test_links_are_written_through_and_permissions_kept(tmp_path):
    (tmp_path / "there").mkdir()
    real = tmp_path / "there" / "real.txt"
    (tmp_path / "link").symlink_to("there/real.txt")
    with write_atomically(tmp_path / "link") as file:  # which leads nowhere yet
        file.write("one")
    assert real.read_text() == "one"
    real.chmod(0o600)
    with write_atomically(tmp_path / "link") as file:
        file.write("two")
    assert real.read_text() == "two"
    assert (tmp_path / "link").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(UserError, match="circle"), write_atomically(tmp_path / "circle"):
        pass


def _write_slowly(path, began, end):
    with write_atomically(path) as file:
        file.write("slow")
        file.flush()
        began.set()
        end.wait()


def test_leftovers_of_killed_runs_go_and_what_is_under_way_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_LEFT_BEHIND", -1.0)  # whatever its age
    context = multiprocessing.get_context("fork")
    (began, end), (later, done) = ((context.Event(), context.Event()) for _ in range(2))
    killed = context.Process(target=_write_slowly, args=(tmp_path / "killed", began, end))
    slow = context.Process(target=_write_slowly, args=(tmp_path / "slow", later, done))
    killed.start()
    began.wait()
    killed.kill()
    killed.join()
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / ".mine.txt").write_text("of somebody else")
    slow.start()
    later.wait()  # it has removed what the killed one left
    with write_atomically(tmp_path / "other") as file:
        file.write("x")
    assert sorted(p.name.split(".")[1] for p in tmp_path.glob(".*")) == ["mine", "slow"]
    done.set()
    slow.join()
    assert (tmp_path / "slow").read_text() == "slow"
    assert sorted(p.name for p in tmp_path.iterdir()) == [".mine.txt", "other", "slow"]


def test_names_too_long_are_one_line(tmp_path):
    for path in (tmp_path / ("a" * 300), tmp_path / ("b" * 300) / "a"):
        with pytest.raises(UserError, match="cannot be written"), write_atomically(path):
            pass
    with write_atomically(tmp_path / ("c" * 255)):  # whose temporary name would be longer
        pass


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "/abs", "../x", "a\0", "a\x1b[2J", "a\n", " a",
                                  "ä" * 101, "caf\udce9"])
def test_names_that_leave_the_folder_or_cannot_be_are_refused(name):
    with pytest.raises(UserError, match="--name"):
        check_name("--name", name)


@pytest.mark.parametrize(("value", "shape", "problem"), [
    (1, int, None), (1.5, (int, float), None), (None, (str, type(None)), None), ({"a": 1, "b": 2}, {"a": int}, None),
    ([1, 2], [int], None), ({"x": "y"}, {str: str}, None), (True, bool, None), ({}, {"a": int}, None),
    (True, int, "a whole number"), ("1", int, "a whole number"), ({"a": "1"}, {"a": int}, "'a'"),
    ([1, "2"], [int], r"\[1\]"), ([], {"a": int}, "a JSON object"), ({"x": 1}, {str: str}, "'x'"),
    ({}, [int], "a list")])
def test_shapes_of_json(value, shape, problem):
    found = misshapen(value, shape)
    assert (found is None) if problem is None else (problem.replace("\\", "") in found), found


@pytest.mark.parametrize(("error", "parts"), [
    (UserError("a.json: broken\nmend it"), ["error: a.json: broken mend it"]),
    (PermissionError(errno.EACCES, "Permission denied", "/x/y"), ["/x/y", "Permission denied", "permissions"]),
    (OSError(errno.ENAMETOOLONG, "File name too long", b"/x"), ["/x", "shorter"]),
    (MemoryError(), ["memory", "smaller batches"]),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), ["memory"]),
    (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried ..."), ["memory"]),
    (UnicodeEncodeError("utf-8", "caf\udce9", 3, 4, "surrogates not allowed"), ["udce9", "rename"]),
    (KeyboardInterrupt(), ["interrupted"])])
def test_what_goes_wrong_is_one_line_and_an_exit_code(capsys, error, parts):
    def main():
        raise error
    with pytest.raises(SystemExit) as exit_:
        exit_cleanly(main)
    assert exit_.value.code == (130 if isinstance(error, KeyboardInterrupt) else 2)
    line = capsys.readouterr().err
    assert all(part in line for part in parts), line
    assert line.count("\n") == 1


def test_a_console_gets_what_it_can_show():
    code = r"from data.base.errors import exit_cleanly; exit_cleanly(lambda: print('caf\xe9 \udce9'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
                          env=os.environ | {"PYTHONIOENCODING": "ascii:strict"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "caf\\xe9 \\udce9\n", "")


def test_output_to_a_full_disk_is_one_line():
    code = "from data.base.errors import exit_cleanly; exit_cleanly(lambda: [print(1) for _ in range(100_000)] and 0)"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == "error: writing: No space left on device; make room on that disk\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_ends_it_with_one_line(name):
    code = ("import time; from data.base.errors import exit_cleanly\n"
            "exit_cleanly(lambda: print('begun', flush=True) or time.sleep(60))")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               cwd=ROOT)
    assert process.stdout.readline() == "begun\n"
    process.send_signal(getattr(signal, name))
    assert process.communicate()[1] == f"stopped by {name}\n"
    assert process.returncode == 128 + getattr(signal, name)


@pytest.mark.parametrize(("text", "problem"), [
    ("{", ""), ("[" * 100_000, ""), ("", ""), ("\udce9", ""), ("[]", ""),
    ('{"a": {"b": 1, "b": 2}}', "'b' is there twice"),
    (f'{{"a": 1{"0" * 400}}}', "'a' must be a number that a computer can hold, not 401 digits")])
def test_broken_json_is_one_line(tmp_path, text, problem):
    (tmp_path / "a.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"a\.json.*" + problem):
        read_json(tmp_path / "a.json", shape={"a": (int, float)})


ARRAYS = {"counts": np.arange(40, dtype=np.int64), "names": np.array(["a", "bc"]), "number": np.float32(2.5)}


def saved(save=np.savez, **arrays) -> bytes:
    content = io.BytesIO()
    save(content, **(arrays or ARRAYS))
    return content.getvalue()


def said(content: bytes) -> str | None:
    """What `read_npz` has against a file, None if nothing. Any other error than its own ends the test."""
    try:
        read_npz(io.BytesIO(content))
    except ValueError as error:
        assert "damaged" in str(error)
        return str(error)
    return None


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_was_saved_is_read(save):
    found = read_npz(io.BytesIO(saved(save)))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert np.array_equal(found[name], array) and found[name].dtype == array.dtype


def test_a_byte_here_or_there_is_another_and_files_of_other_kinds_are_refused():
    rng, whole, refused = random.Random(0), saved(np.savez_compressed), 0
    for _ in range(500):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 2, 5))):
            content[rng.randrange(len(content))] = rng.randrange(256)
        refused += said(bytes(content)) is not None
    assert refused > 100
    array = io.BytesIO()
    np.save(array, ARRAYS["counts"])
    for content in (*(whole[:length] for length in range(0, len(whole), 7)), b"text", array.getvalue(),
                    saved(objects=np.array(["a", None], object))):
        assert said(content)
