"""Get an archive and unpack it: resumed after a cut, checked before use, done once.

A file gets its own name when it is whole and its hash is right. Until then it is ``<name>.part``, and the next attempt
carries on with it. An unpacked archive leaves a marker, so that it is not unpacked again.
"""

import gzip
import json
import os
import shutil
import sys
import tarfile
import time
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

from data.base.errors import UserError
from data.base.files import file_digest, locked, read_json, write_atomically
from data.base.find import UNPACKING

ATTEMPTS = 5  # in a row without a byte gained
WAIT = 1.0  # seconds before the second attempt, doubled with every further one
TIMEOUT = 60  # seconds without a byte before a connection counts as cut
_CHUNK = 1 << 13  # bytes; a cut loses at most so many


def fetch_and_unpack(url: str, folder: str | Path, expected: str | None = None) -> Path:
    """`fetch` an archive into ``folder`` and `unpack` it there, unless that was done before."""
    folder = Path(folder)
    name = os.path.basename(urllib.parse.urlsplit(url).path)
    if not name:
        raise UserError(f"{url}: names no file; give the address of the archive itself")
    archive = folder / name
    if _local(url) is None and not archive.exists() and _unpacked(archive, folder) is not None:
        return folder  # unpacked, and the archive removed to save space
    return unpack(fetch(url, archive, expected), folder)


def fetch(url: str, path: str | Path, expected: str | None = None) -> Path:
    """Download a file, carrying on with what an earlier attempt left, and check it, also one that is there already.

    Args:
        url: http(s), or a local file as ``file://`` or plain path, which is checked and used where it lies.
        path: where to put it; missing folders are made.
        expected: SHA-256 in hexadecimal, or another hash as ``md5:...``.

    Returns the checked file: ``path``, or the local file. Raises UserError or OSError.
    """
    local, path = _local(url), Path(path)
    if local is not None:
        path = local
        if not local.is_file():
            raise UserError(f"{local}: no such file; check the path of the archive")
    if path.exists():
        _check(path, expected, "remove it, or get the right one")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    _download(url, part)
    try:
        _check(part, expected, "run again to download it anew, or give another mirror")
    except UserError:
        part.unlink()
        raise
    os.replace(part, path)
    return path


def _check(file: Path, expected: str | None, way_out: str) -> None:
    if expected:
        kind, _, wanted = expected.lower().rpartition(":")
        if (found := file_digest(file, kind or "sha256")) != wanted:
            raise UserError(f"{file}: {kind or 'sha256'} is {found} where {wanted} is expected; {way_out}")


def _download(url: str, part: Path) -> None:
    """Fill ``part``, from where it ends on: pooch's downloader, told to append."""
    import requests
    from pooch import HTTPDownloader
    from tqdm import tqdm

    def begin(response: requests.Response, **_) -> None:
        if response.status_code == 200:  # of the whole file: the server cannot resume
            file.truncate(0)
            file.seek(0)

    failures = 0
    with part.open("ab") as file:
        while True:
            have = file.tell()
            headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
            try:
                with tqdm(total=1, desc=part.stem, unit="B", unit_scale=True, disable=None) as bar:
                    HTTPDownloader(bar, _CHUNK, timeout=TIMEOUT, headers=headers, hooks={"response": begin})(
                        url, file, None)
                return
            except requests.RequestException as error:
                status = 503 if error.response is None else error.response.status_code
                if status == 416:  # no byte beyond those that are there
                    return
                failures = 1 if file.tell() > have else failures + 1
                if (status < 500 and status not in (408, 429)) or isinstance(error, ValueError):
                    failures = ATTEMPTS  # the same again, however often it is tried
                if failures >= ATTEMPTS:
                    raise UserError(f"{url}: cannot be downloaded ({error}); check the address and run again to carry "
                                    f"on with {part}, or give a mirror or a local file") from None
                print(f"{part.stem}: {error}; trying again", file=sys.stderr)
                time.sleep(WAIT * 2 ** (failures - 1))


def unpack(archive: str | Path, folder: str | Path) -> Path:
    """Unpack a ``.tar.gz``, ``.tgz`` or ``.zip`` into ``folder``, all of it or nothing.

    Members go to a temporary folder inside ``folder`` and are moved when all are there and the checksums of the
    archive hold; folders that exist are added to. A marker ``.unpacked-<archive>`` keeps it from being done twice.
    Raises UserError for an archive that is damaged or unsafe or another kind of file, OSError where it cannot write.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.name.endswith((".zip", ".tar.gz", ".tgz")):
        raise UserError(f"{archive}: neither .tar.gz, .tgz nor .zip; unpack it by hand")
    size, temporary = archive.stat().st_size, folder / f"{UNPACKING}{archive.name}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if _unpacked(archive, folder) == size:  # by another process, meanwhile
            return folder
        shutil.rmtree(temporary, ignore_errors=True)  # of an attempt that was killed
        try:
            temporary.mkdir()
            _extract(archive, temporary)
            _move_into(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        with write_atomically(_marker(archive, folder)) as file:
            json.dump({"size": size}, file)
    return folder


def _extract(archive: Path, folder: Path) -> None:
    try:
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as zipped:
                zipped.extractall(folder)  # leaves out of names what would lead out of the folder
        else:
            with gzip.open(archive) as stream:
                with tarfile.open(fileobj=stream, mode="r|") as tar:
                    tar.extractall(folder, filter="data")  # refuses what leads out, and devices
                while stream.read(_CHUNK):  # a tar ends before the gzip stream and its checksum do
                    pass
    except Exception as error:  # damage makes the libraries raise almost anything
        if isinstance(error, OSError) and error.errno:  # a full disk, no permission
            raise
        raise UserError(f"{archive}: damaged archive, or unsafe to unpack ({error}); get it again") from None


def _move_into(source: Path, target: Path) -> None:
    for entry in sorted(source.iterdir()):
        goal = target / entry.name
        if entry.is_dir() and goal.is_dir():
            _move_into(entry, goal)
        else:
            os.replace(entry, goal)


def _local(url: str) -> Path | None:
    """The path when ``url`` names a local file."""
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme == "file":
        return Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path))
    return None if scheme else Path(url)


def _unpacked(archive: Path, folder: Path) -> int | None:
    """The size of the archive of that name that was unpacked there, None if none was."""
    try:
        return read_json(_marker(archive, folder), shape={"size": int}).get("size")
    except UserError:  # not there, or not ours
        return None


def _marker(archive: Path, folder: Path) -> Path:
    return folder / f".unpacked-{archive.name}"
