"""Downloads from a loopback server that can cut, lie and refuse; archives good, damaged and malicious."""

import contextlib
import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import numpy as np
import pytest

from data.base.errors import UserError
from data.sources import download
from data.sources.download import fetch, fetch_and_unpack, unpack

BODY = np.random.default_rng(0).bytes(300_000)
SHA256, MD5 = hashlib.sha256(BODY).hexdigest(), f"md5:{hashlib.md5(BODY).hexdigest()}"


class Server(ThreadingHTTPServer):
    """Serves ``body``; every connection sends at most ``limit`` bytes of what it announced."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.limit, self.ranges, self.failing = BODY, None, True, 0
        self.asked: list[str | None] = []  # the Range header of each request
        self.url = f"http://127.0.0.1:{self.server_port}/archive.tar.gz"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if self.path.endswith("missing") or server.failing > 0:
            server.failing -= 1
            self.send_error(404 if self.path.endswith("missing") else 503)
            return
        start = int(asked[6:-1]) if asked and server.ranges else 0
        if asked and server.ranges and start >= len(server.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.body)}")
            self.end_headers()
            return
        part = server.body[start:]
        self.send_response(206 if asked and server.ranges else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part[:server.limit])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "WAIT", 0.0)
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def archive_of(path, members):
    """A zip or tar of (name or TarInfo, bytes) members."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as zipped:
            for name, content in members:
                zipped.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            info = tarfile.TarInfo(info) if isinstance(info, str) else info
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def special(name, kind, linkname=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    return info


def tree(folder):
    """Relative path -> content of every file, the markers left out."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*"))
            if file.is_file() and not file.name.startswith(".unpacked-")}


def test_fetch_gets_the_bytes_and_asks_once(server, tmp_path):
    path = fetch(server.url, tmp_path / "new" / "a.bin", SHA256)
    assert path.read_bytes() == BODY
    assert fetch(server.url, path, MD5.upper()) == path
    assert server.asked == [None]
    assert list(path.parent.iterdir()) == [path]


def test_cut_connection_is_taken_up_where_it_broke(server, tmp_path):
    server.limit = 90_000
    assert fetch(server.url, tmp_path / "a.bin", SHA256).read_bytes() == BODY
    begun = [int(asked[6:-1]) if asked else 0 for asked in server.asked]
    assert begun[0] == 0 and begun == sorted(set(begun)) and len(begun) > 3
    assert all(b - a >= 90_000 - download._CHUNK for a, b in pairwise(begun))


@pytest.mark.parametrize(("left", "ranges", "asked"), [
    (BODY[:200_000], True, 200_000), (BODY, True, 300_000), (b"other", False, 5)])
def test_what_an_earlier_run_left_is_carried_on_or_dropped(server, tmp_path, left, ranges, asked):
    server.ranges = ranges
    (tmp_path / "a.bin.part").write_bytes(left)
    assert fetch(server.url, tmp_path / "a.bin", SHA256).read_bytes() == BODY
    assert server.asked[0] == f"bytes={asked}-"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_busy_server_is_asked_again_and_no_progress_ends_and_keeps_the_part(server, tmp_path):
    server.failing = download.ATTEMPTS - 1
    assert fetch(server.url, tmp_path / "a.bin").read_bytes() == BODY
    server.limit, server.asked = 0, []
    (tmp_path / "b.bin.part").write_bytes(BODY[:100])
    with pytest.raises(UserError, match=r"b\.bin\.part"):
        fetch(server.url, tmp_path / "b.bin")
    assert len(server.asked) == download.ATTEMPTS
    assert (tmp_path / "b.bin.part").read_bytes() == BODY[:100] and not (tmp_path / "b.bin").exists()


def test_a_wrong_hash_leaves_nothing_and_a_rerun_starts_anew(server, tmp_path):
    path, server.body = tmp_path / "a.bin", BODY[::-1]
    with pytest.raises(UserError) as error:
        fetch(server.url, path, SHA256)
    assert all(part in str(error.value) for part in ("a.bin", SHA256, hashlib.sha256(BODY[::-1]).hexdigest()))
    assert not list(tmp_path.iterdir())
    server.body = BODY
    path.write_bytes(b"old")
    with pytest.raises(UserError, match=r"a.bin: sha256 is .*; remove it"):
        fetch(server.url, path, SHA256)
    path.unlink()
    assert fetch(server.url, path, SHA256).read_bytes() == BODY


@pytest.mark.parametrize(("url", "message"), [
    ("{server}missing", "404"), ("http://127.0.0.1:1/x", "cannot be downloaded"), ("/no/such/archive", "no such file"),
    ("file:///no/such/archive", "no such file"), ("nonsense://x/y", "cannot be downloaded")])
def test_bad_addresses(server, tmp_path, url, message):
    with pytest.raises(UserError, match=message):
        fetch(url.format(server=server.url), tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_local_file_is_checked_and_used_where_it_lies(tmp_path, form):
    source = tmp_path / "my archive.bin"
    source.write_bytes(BODY)
    url = form.format(source if form == "{}" else str(source).replace(" ", "%20"))
    assert fetch(url, tmp_path / "a.bin", SHA256) == source
    for wrong in ("0" * 64, f"md5:{SHA256[:32]}"):
        with pytest.raises(UserError, match="expected"):
            fetch(url, tmp_path / "a.bin", wrong)
    assert [file.name for file in tmp_path.iterdir()] == [source.name]  # a user's own file is never moved


@pytest.mark.parametrize("ending", [".tar.gz", ".tgz", ".zip"])
def test_unpack_once(tmp_path, ending):
    files = {"yes/a.wav": BODY[:100], "yes/b.wav": b"", "no/deep/er/c.wav": BODY, "list.txt": b"x"}
    archive = archive_of(tmp_path / f"words{ending}", [(f"./{name}", content) for name, content in files.items()])
    folder = tmp_path / "out"
    left = folder / f".unpacking-words{ending}" / "half"  # by a killed attempt
    left.mkdir(parents=True)
    assert unpack(archive, folder) == folder
    assert tree(folder) == files
    (folder / "list.txt").unlink()
    unpack(archive, folder)  # done work is not done again
    assert not (folder / "list.txt").exists()
    unpack(archive_of(archive, [("list.txt", b"another archive by the same name"), ("yes/d.wav", b"4")]), folder)
    assert tree(folder) == files | {"list.txt": b"another archive by the same name", "yes/d.wav": b"4"}


BAD = ["../escaped", "/tmp/escaped", "a/../../escaped"]


@pytest.mark.parametrize(("bad", "ending"), [
    *((bad, ending) for bad in BAD for ending in (".tar.gz", ".zip")),
    *((special("a", kind, link), ".tar.gz") for kind, link in (
        (tarfile.SYMTYPE, "/etc"), (tarfile.LNKTYPE, "/etc/hosts"), (tarfile.FIFOTYPE, ""), (tarfile.CHRTYPE, "")))])
def test_no_member_gets_outside_the_folder_and_devices_are_refused(tmp_path, bad, ending):
    archive = archive_of(tmp_path / f"bad{ending}", [("good", b"1"), (bad, b"")])
    folder = tmp_path / "deep" / "out"
    # Of names in a zip file, and of an absolute one, what leads out of the folder is left out.
    left_out = ending == ".zip" or bad == "/tmp/escaped"
    with contextlib.nullcontext() if left_out else pytest.raises(UserError, match="unsafe"):
        unpack(archive, folder)
    assert {entry.name for entry in tmp_path.iterdir()} == {archive.name, "deep"}
    assert {entry.name for entry in folder.parent.iterdir()} == {"out"}


@pytest.mark.parametrize("damage", [lambda b: b[:len(b) // 2], lambda b: b[:-4], lambda b: b[:-8] + bytes(8),
                                    lambda b: b[:50_000] + b"oops" + b[50_004:], lambda b: b"<html>a page, no archive",
                                    lambda b: b""])
@pytest.mark.parametrize("ending", [".tar.gz", ".zip"])
def test_damaged_archives_leave_nothing(tmp_path, damage, ending):
    archive = archive_of(tmp_path / f"a{ending}", [("one", BODY)])
    whole = archive.read_bytes()
    archive.write_bytes(damage(whole))
    with pytest.raises(UserError, match=rf"a{ending}: damaged archive"):
        unpack(archive, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    archive.write_bytes(whole)
    assert tree(unpack(archive, tmp_path / "out")) == {"one": BODY}


def test_fetch_and_unpack_does_done_work_once(server, tmp_path):
    server.body = archive_of(tmp_path / "x.tar.gz", [("one", BODY)]).read_bytes()
    server.limit = 100_000
    sha256 = hashlib.sha256(server.body).hexdigest()
    assert fetch_and_unpack(server.url, tmp_path / "out", sha256) == tmp_path / "out"
    requests = len(server.asked)
    assert requests > 1
    fetch_and_unpack(server.url, tmp_path / "out", sha256)
    (tmp_path / "out" / "archive.tar.gz").unlink()  # to save space
    fetch_and_unpack(server.url, tmp_path / "out", sha256)
    assert len(server.asked) == requests
    assert tree(tmp_path / "out") == {"one": BODY}
