"""Downloads from a loopback server that can cut, lie and refuse; archives good, damaged and malicious."""

import hashlib
import io
import shutil
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from data.base.errors import UserError
from data.sources import download
from data.sources.download import fetch, fetch_and_unpack, unpack

BODY = np.random.default_rng(0).bytes(300_000)
SHA256, MD5 = hashlib.sha256(BODY).hexdigest(), hashlib.md5(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``body``; every connection sends at most ``limit`` bytes of what it announced."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.limit, self.ranges, self.failing = BODY, None, True, 0
        self.asked: list[str | None] = []  # the Range header of each request
        self.url = f"http://127.0.0.1:{self.server_port}/archive.tar.gz"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if self.path.endswith("missing") or server.failing > 0:
            server.failing -= 1
            self.send_error(404 if self.path.endswith("missing") else 503)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
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


def tar_of(path, members, mode="w:gz"):
    """A tar of (name or TarInfo, bytes) members."""
    with tarfile.open(path, mode) as tar:
        for info, content in members:
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
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
    path = fetch(server.url, tmp_path / "new" / "a.bin", sha256=SHA256, md5=MD5.upper(), size=len(BODY))
    assert path.read_bytes() == BODY
    assert fetch(server.url, path, sha256=SHA256) == path
    assert server.asked == [None]
    assert list(path.parent.iterdir()) == [path]


def test_cut_connection_is_taken_up_where_it_broke(server, tmp_path):
    server.limit = 90_000
    path = fetch(server.url, tmp_path / "a.bin", sha256=SHA256)
    assert path.read_bytes() == BODY
    assert server.asked == [None, "bytes=90000-", "bytes=180000-", "bytes=270000-"]


def test_part_of_an_earlier_run_is_carried_on(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(BODY[:200_000])
    assert fetch(server.url, tmp_path / "a.bin", sha256=SHA256).read_bytes() == BODY
    assert server.asked == ["bytes=200000-"]


def test_complete_part_needs_no_more_bytes(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(BODY)
    assert fetch(server.url, tmp_path / "a.bin", sha256=SHA256).read_bytes() == BODY


def test_part_longer_than_the_file_is_dropped(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(BODY + b"more")
    assert fetch(server.url, tmp_path / "a.bin", sha256=SHA256).read_bytes() == BODY


def test_server_without_ranges_starts_over(server, tmp_path):
    server.ranges = False
    (tmp_path / "a.bin.part").write_bytes(BODY[:100])
    assert fetch(server.url, tmp_path / "a.bin", sha256=SHA256).read_bytes() == BODY


def test_busy_server_is_asked_again(server, tmp_path):
    server.failing = download.ATTEMPTS - 1
    assert fetch(server.url, tmp_path / "a.bin").read_bytes() == BODY


def test_no_progress_ends_and_keeps_the_part(server, tmp_path):
    server.limit = 0
    (tmp_path / "a.bin.part").write_bytes(BODY[:100])
    with pytest.raises(UserError, match=r"a\.bin\.part"):
        fetch(server.url, tmp_path / "a.bin")
    assert len(server.asked) == download.ATTEMPTS
    assert (tmp_path / "a.bin.part").read_bytes() == BODY[:100]
    assert not (tmp_path / "a.bin").exists()


def test_wrong_hash_is_set_aside_and_a_rerun_starts_anew(server, tmp_path):
    path = tmp_path / "a.bin"
    server.body = BODY[::-1]
    with pytest.raises(UserError) as error:
        fetch(server.url, path, sha256=SHA256)
    assert all(part in str(error.value) for part in ("a.bin", SHA256, hashlib.sha256(BODY[::-1]).hexdigest()))
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin.bad"]
    server.body = BODY
    assert fetch(server.url, path, sha256=SHA256).read_bytes() == BODY
    assert server.asked == [None, None]


def test_file_that_is_there_but_wrong_is_set_aside(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(UserError, match="md5"):
        fetch(server.url, tmp_path / "a.bin", md5=MD5)
    assert fetch(server.url, tmp_path / "a.bin", md5=MD5).read_bytes() == BODY


def test_wrong_size_is_seen_before_the_body(server, tmp_path):
    with pytest.raises(UserError, match=r"300,000 bytes where 1,000,000"):
        fetch(server.url, tmp_path / "a.bin", size=1_000_000)
    assert not list(tmp_path.iterdir())


def test_full_disk_is_seen_before_the_body(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 0, 10))
    with pytest.raises(UserError, match="10 free"):
        fetch(server.url, tmp_path / "a.bin")


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
    assert fetch(url, tmp_path / "a.bin", sha256=SHA256) == source
    with pytest.raises(UserError, match="sha256"):
        fetch(url, tmp_path / "a.bin", sha256="0" * 64)
    assert [file.name for file in tmp_path.iterdir()] == [source.name]  # a user's own file is never moved


@pytest.mark.parametrize("ending", [".tar.gz", ".tgz", ".zip"])
def test_unpack_once(tmp_path, ending):
    files = {"yes/a.wav": BODY[:100], "yes/b.wav": b"", "no/deep/er/c.wav": BODY, "list.txt": b"x"}
    archive = tmp_path / f"words{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, content in files.items():
                zipped.writestr(name, content)
    else:
        tar_of(archive, [(special("./yes", tarfile.DIRTYPE), b""), *((f"./{name}", c) for name, c in files.items())])
    folder = tmp_path / "out"
    assert unpack(archive, folder) == folder
    assert tree(folder) == files
    (folder / "list.txt").unlink()
    unpack(archive, folder)  # done work is not done again
    assert not (folder / "list.txt").exists()
    tar_of(tmp_path / "words.tar.gz", [("list.txt", b"another archive by the same name")])
    unpack(tmp_path / "words.tar.gz", folder)
    assert (folder / "list.txt").read_bytes().startswith(b"another")


def test_archives_share_a_folder(tmp_path):
    unpack(tar_of(tmp_path / "one.tar.gz", [("speech/a/1", b"1"), ("speech/README", b"old")]), tmp_path / "out")
    unpack(tar_of(tmp_path / "two.tar.gz", [("speech/b/2", b"2"), ("speech/README", b"new")]), tmp_path / "out")
    assert tree(tmp_path / "out") == {"speech/a/1": b"1", "speech/b/2": b"2", "speech/README": b"new"}


@pytest.mark.parametrize("bad", ["../escaped", "/tmp/escaped", "a/../../escaped", "..\\escaped", "C:/escaped"])
@pytest.mark.parametrize("ending", [".tar.gz", ".zip"])
def test_members_outside_the_folder_are_refused(tmp_path, bad, ending):
    archive = tmp_path / f"bad{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr("good", b"1")
            zipped.writestr(bad, b"2")
    else:
        tar_of(archive, [("good", b"1"), (bad, b"2")])
    with pytest.raises(UserError, match="outside the folder"):
        unpack(archive, tmp_path / "deep" / "out")
    assert {entry.name for entry in tmp_path.iterdir()} == {archive.name}


@pytest.mark.parametrize("member", [special("a", tarfile.SYMTYPE, "/etc"), special("a", tarfile.LNKTYPE, "good"),
                                    special("a", tarfile.FIFOTYPE), special("a", tarfile.CHRTYPE)])
def test_links_and_devices_are_refused(tmp_path, member):
    archive = tar_of(tmp_path / "bad.tar.gz", [("good", b"1"), (member, b""), ("a/through", b"2")])
    with pytest.raises(UserError, match="link or a device"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("a")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as zipped:
        zipped.writestr(info, "/etc")
    with pytest.raises(UserError, match="link or a device"):
        unpack(tmp_path / "bad.zip", tmp_path / "out")


@pytest.mark.parametrize("damage", [lambda b: b[:len(b) // 2], lambda b: b[:-4], lambda b: b[:-8] + bytes(8),
                                    lambda b: b[:50_000] + b"oops" + b[50_004:], lambda b: b"<html>a page, no archive",
                                    lambda b: b""])
@pytest.mark.parametrize("ending", [".tar.gz", ".zip"])
def test_damaged_archives_leave_nothing(tmp_path, damage, ending):
    archive = tmp_path / f"a{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr("one", BODY)
    else:
        tar_of(archive, [("one", BODY)])
    whole = archive.read_bytes()
    archive.write_bytes(damage(whole))
    with pytest.raises(UserError, match="damaged archive"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    archive.write_bytes(whole)
    assert tree(unpack(archive, tmp_path / "out")) == {"one": BODY}


@pytest.mark.parametrize("damage", [
    (b"PK\5\6", 16, b"\xff\0\0\0"), (b"PK\1\2", 10, b"\x63\0"), (b"PK\1\2", 6, b"\xff\0")],
    ids=["members before the beginning", "unknown compression", "unknown version"])
def test_odd_entries_of_a_zip_are_a_damaged_archive_not_a_full_disk(tmp_path, damage):
    archive, (mark, at, change) = tmp_path / "a.zip", damage
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("one", b"1" * 99)
    content = bytearray(archive.read_bytes())
    start = content.rfind(mark) + at
    content[start:start + len(change)] = change
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.zip: damaged archive"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_no_damaged_archive(tmp_path, monkeypatch):
    import errno

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extract", full)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("one", b"1")
    with pytest.raises(UserError, match="No space left on device"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def odd_tar(path, name):
    """A tar whose only member has any name at all: PAX headers take what a TarInfo does not."""
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a")
        info.size, info.pax_headers = 3, {"path": name}
        tar.addfile(info, io.BytesIO(b"abc"))
    return path


@pytest.mark.parametrize(("name", "message"), [
    ("a\0b", "a NUL in its name"), ("a/" * 2_500 + "x", "2,501 folders"), ("x" * 256, "more than 255 bytes"),
    ("é" * 128, "more than 255 bytes"), ("./", "without a name"), (".", "without a name")])
def test_names_that_no_file_can_have_are_refused(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        unpack(odd_tar(tmp_path / "a.tar.gz", name), tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("good", b"1")
        zipped.writestr(zipfile.ZipInfo("" if "without" in message else name), b"abc")
    if "\0" not in name:  # zipfile cuts there
        with pytest.raises(UserError, match=message):
            unpack(tmp_path / "a.zip", tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_members_that_cannot_both_be_are_a_damaged_archive(tmp_path):
    for first, second in (("a", "a/b"), ("a/b", "a")):
        with pytest.raises(UserError, match="damaged archive"):
            unpack(tar_of(tmp_path / "a.tar.gz", [(first, b"1"), (second, b"2")]), tmp_path / "out")


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"[]", b'{"size": "x"}', b"{", b"1" * 5_000])
def test_a_marker_that_is_not_ours_is_no_marker(server, tmp_path, content):
    server.body = tar_of(tmp_path / "x.tar.gz", [("one", b"1")]).read_bytes()
    marker = tmp_path / "out" / ".unpacked-archive.tar.gz"
    marker.parent.mkdir()
    marker.mkdir() if content is None else marker.write_bytes(content)
    if content is None:
        with pytest.raises(UserError, match="is a folder"):
            fetch_and_unpack(server.url, tmp_path / "out")
    else:
        assert tree(fetch_and_unpack(server.url, tmp_path / "out")) | {"archive.tar.gz": b""} == {
            "one": b"1", "archive.tar.gz": b""}


def test_a_failure_leaves_no_folder_that_was_not_there(server, tmp_path):
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(b"x")
    for url in (str(bad), str(tmp_path / "none.tar.gz"), f"{server.url}missing"):
        with pytest.raises(UserError):
            fetch_and_unpack(url, tmp_path / "new" / "out")
        assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError):
        fetch_and_unpack(str(bad), tmp_path / "mine")
    assert (tmp_path / "mine").is_dir()


def test_other_kinds_of_archive_are_named(tmp_path):
    (tmp_path / "a.rar").write_bytes(b"x")
    with pytest.raises(UserError, match=r"a\.rar: neither"):
        unpack(tmp_path / "a.rar", tmp_path)


def test_what_a_killed_unpacking_left_is_removed(tmp_path):
    left = tmp_path / "out" / ".unpacking-a.tar.gz"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"x")
    assert tree(unpack(tar_of(tmp_path / "a.tar.gz", [("one", b"1")]), tmp_path / "out")) == {"one": b"1"}


def test_fetch_and_unpack_does_done_work_once(server, tmp_path):
    server.body = tar_of(tmp_path / "x.tar.gz", [("one", BODY)]).read_bytes()
    server.limit = 100_000
    sha256 = hashlib.sha256(server.body).hexdigest()
    assert fetch_and_unpack(server.url, tmp_path / "out", sha256=sha256) == tmp_path / "out"
    requests = len(server.asked)
    assert requests > 1
    fetch_and_unpack(server.url, tmp_path / "out", sha256=sha256)
    (tmp_path / "out" / "archive.tar.gz").unlink()  # to save space
    fetch_and_unpack(server.url, tmp_path / "out", sha256=sha256)
    assert len(server.asked) == requests
    assert tree(tmp_path / "out") == {"one": BODY}


def test_nothing_is_unpacked_before_the_hash_holds(server, tmp_path):
    server.body = tar_of(tmp_path / "x.tar.gz", [("one", BODY)]).read_bytes()
    with pytest.raises(UserError, match="sha256"):
        fetch_and_unpack(server.url, tmp_path / "out", sha256=SHA256)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["archive.tar.gz.bad"]


def test_damaged_download_without_a_hash_is_downloaded_anew(server, tmp_path):
    good = tar_of(tmp_path / "x.tar.gz", [("one", BODY)]).read_bytes()
    server.body = good[:-100]
    with pytest.raises(UserError, match="damaged"):
        fetch_and_unpack(server.url, tmp_path / "out")
    server.body = good
    assert (fetch_and_unpack(server.url, tmp_path / "out") / "one").read_bytes() == BODY


def test_folder_that_cannot_be_made_is_one_line(server, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be used"):
        fetch(server.url, tmp_path / "file" / "sub" / "a.bin")
