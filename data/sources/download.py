"""Get an archive and unpack it: resumed after a cut, checked before use, safe to unpack, done once.

A file appears under its own name only when it is whole and has the right hash; until then it is ``<name>.part``,
which the next attempt carries on with. An unpacked archive leaves a marker, so that it is not unpacked again.
"""

import errno
import gzip
import hashlib
import http.client
import json
import lzma
import os
import shutil
import ssl
import stat
import struct
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tqdm import tqdm

from data.base.errors import UserError
from data.base.files import check_regular, locked, open_regular, read_json, write_atomically
from data.sources.find import UNPACKING

ATTEMPTS = 5  # in a row without a byte gained
WAIT = 1.0  # seconds before the second attempt, doubled with every further one
TIMEOUT = 60  # seconds without a byte before a connection counts as cut
_CHUNK = 1 << 20
_CUT = (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError, urllib.error.URLError)
_DAMAGED = (  # what a damaged archive makes gzip, tarfile and zipfile raise, OSErrors of `_is_damage` aside
    gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError,  # a stream that is none, or ends too early
    tarfile.TarError, zipfile.BadZipFile, struct.error,  # a header that is none
    ValueError,  # a name that is no text, a number that is none
    OverflowError,  # a date that no clock has
    NotImplementedError,  # a method of compression, or a version, that zipfile does not know
    RecursionError,  # thousands of headers about the next header
    NotADirectoryError, IsADirectoryError, FileExistsError)  # two members that cannot both be
_DEEPEST, _LONGEST = 100, 255  # folders within folders, bytes of a name: what file systems and we ourselves take


def fetch_and_unpack(url: str, folder: str | Path, **checks) -> Path:
    """`fetch` an archive into ``folder`` and `unpack` it there; nothing to do when that was done before.

    Args:
        checks: ``sha256``, ``md5`` and ``size`` of the archive, as of `fetch`.

    Returns:
        ``folder``.
    """
    folder = Path(folder)
    name = os.path.basename(urllib.parse.urlsplit(url).path)
    if not name:
        raise UserError(f"{url}: names no file; give the address of the archive itself")
    archive = folder / name
    if _local(url) is None and not archive.exists() and _unpacked(archive, folder) is not None:
        return folder  # unpacked, and the archive removed to save space
    with _leaving_no_empty_folder(folder):
        archive = fetch(url, archive, **checks)
        try:
            return unpack(archive, folder)
        except UserError:
            if _local(url) is None and archive.exists():
                _set_aside(archive)
            raise


def fetch(url: str, path: str | Path, *, sha256: str | None = None, md5: str | None = None,
          size: int | None = None) -> Path:
    """Download a file, carrying on with what an earlier attempt left, and check it.

    A cut connection is taken up again where it broke, up to `ATTEMPTS` times without progress. With a hash, a file
    that is there already is checked; without, it is taken as it is.

    Args:
        url: http(s), or a local file as ``file://`` or plain path, which is checked and used where it lies.
        path: where to put it; missing folders are made.
        sha256, md5: expected hash, hexadecimal.
        size: expected number of bytes.

    Returns:
        The checked file: ``path``, or the local file.

    Raises:
        UserError: not reachable, no such file, another size or hash than expected (a downloaded file is then set
            aside as ``<name>.bad``), no space or no permission to write.
    """
    if (local := _local(url)) is not None:
        if not local.is_file():
            raise UserError(f"{local}: no such file; check the path of the archive")
        _check(local, sha256, md5, size, "get the right one")
        return local
    path = Path(path)
    part = path.with_name(path.name + ".part")
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _download(url, part, size)
        whole = path if path.exists() else part
        try:
            _check(whole, sha256, md5, size, f"set aside as {path.name}.bad, run again to download it anew")
        except UserError:
            _set_aside(whole, path)
            raise
        if whole == part:
            os.replace(part, path)
    return path


def unpack(archive: str | Path, folder: str | Path) -> Path:
    """Unpack a ``.tar.gz``, ``.tgz`` or ``.zip`` into ``folder``, all of it or nothing.

    Members go to a temporary folder inside ``folder`` and are moved when all are there and the checksums of the
    archive hold; folders that exist are added to. A marker ``.unpacked-<archive>`` keeps it from being done twice.

    Raises:
        UserError: a damaged archive, another kind of file, a member that is a link or a device or would lie outside
            ``folder``, or whose name no file can have, no space or no permission to write.
    """
    archive, folder = Path(archive), Path(folder)
    size = archive.stat().st_size
    if _unpacked(archive, folder) == size:
        return folder
    if archive.name.endswith(".zip"):
        members = _unzip
    elif archive.name.endswith((".tar.gz", ".tgz")):
        members = _untar
    else:
        raise UserError(f"{archive}: neither .tar.gz, .tgz nor .zip; unpack it by hand")
    temporary = folder / f"{UNPACKING}{archive.name}"
    with _writing(folder), _leaving_no_empty_folder(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            if _unpacked(archive, folder) == size:  # by another process, meanwhile
                return folder
            shutil.rmtree(temporary, ignore_errors=True)  # of an attempt that was killed
            temporary.mkdir()
            try:
                _unpack_members(members, archive, temporary)
                _move_into(temporary, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            with write_atomically(_marker(archive, folder)) as file:
                json.dump({"size": size}, file)
    return folder


def _unpack_members(members: Callable[[Path, Path], None], archive: Path, temporary: Path) -> None:
    try:
        members(archive, temporary)
    except _DAMAGED as error:
        raise UserError(f"{archive}: damaged archive ({error}); get it again") from None
    except OSError as error:
        if not _is_damage(error):
            raise
        raise UserError(f"{archive}: damaged archive ({error}); get it again") from None


def _is_damage(error: OSError) -> bool:
    """Whether it is about what an archive holds, not about disks: bz2's have no number, and a member that would begin
    before the archive does is an invalid argument, of no file by name."""
    return error.errno is None or (error.errno == errno.EINVAL and error.filename is None)


@contextmanager
def _leaving_no_empty_folder(folder: Path) -> Iterator[None]:
    """If the block fails, remove folders that it made and left empty: they would hide what is there without them."""
    new = [part for part in (folder, *folder.parents) if not part.exists()]  # the deepest first
    try:
        yield
    except BaseException:
        with suppress(OSError):  # not empty
            for part in new:
                part.rmdir()
        raise


def _download(url: str, part: Path, size: int | None) -> None:
    """Fill ``part`` up to the server's length of the file."""
    failures = 0
    while True:
        have = check_regular(part).st_size if part.exists() else 0
        try:
            if _carry_on(url, part, have, size):
                return
            reason = "connection cut"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise UserError(f"{url}: the server answers {error.code} {error.reason}; check the address, "
                                "or give a mirror or a local file") from None
            reason = f"{error.code} {error.reason}"
        except _CUT as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        gained = part.exists() and part.stat().st_size > have
        failures = 1 if gained else failures + 1
        if failures >= ATTEMPTS:
            raise UserError(f"{url}: cannot be downloaded ({reason}, {ATTEMPTS} attempts); run again to carry on with "
                            f"{part}, or give a mirror or a local file")
        wait = WAIT * 2 ** (failures - 1)
        print(f"{part.stem}: {reason}; trying again in {wait:g} s", file=sys.stderr)
        time.sleep(wait)


def _carry_on(url: str, part: Path, have: int, size: int | None) -> bool:
    """One connection's worth of bytes; whether the file is whole then."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        total = error.headers.get("Content-Range", "").rpartition("/")[2]
        if total == str(have):
            return True  # the cut came after the last byte
        part.unlink()  # more than there is: of another file
        return False
    except ValueError as error:
        raise UserError(f"{url}: not an address ({error}); give http(s)://, file:// or a path") from None
    with response:
        if response.status != 206:
            have = 0  # the server cannot resume
        length = response.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        if size is not None and total is not None and total != size:
            part.unlink(missing_ok=True)
            raise UserError(f"{url}: offers {total:,} bytes where {size:,} are expected; give another mirror")
        if total is not None and total - have > (free := shutil.disk_usage(part.parent).free):
            raise UserError(f"{part.parent}: {total - have:,} bytes to download but {free:,} free; make room")
        with part.open("ab" if have else "wb") as file, \
                tqdm(total=total, initial=have, desc=part.stem, unit="B", unit_scale=True, disable=None) as progress:
            while block := response.read1(_CHUNK):
                file.write(block)
                progress.update(len(block))
            return total is None or file.tell() == total


def _check(file: Path, sha256: str | None, md5: str | None, size: int | None, way_out: str) -> None:
    if size is not None and (found := file.stat().st_size) != size:
        raise UserError(f"{file}: {found:,} bytes where {size:,} are expected; {way_out}")
    for kind, expected in (("sha256", sha256), ("md5", md5)):
        if expected is None:
            continue
        with open_regular(file) as stream:
            found = hashlib.file_digest(stream, kind).hexdigest()
        if found != expected.lower():
            raise UserError(f"{file}: {kind} is {found} where {expected.lower()} is expected; {way_out}")


def _untar(archive: Path, folder: Path) -> None:
    with _progress(archive) as raw, gzip.open(raw) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if not (member.isfile() or member.isdir()):
                    raise UserError(f"{archive}: member {member.name!r} is a link or a device; not unpacked")
                _refuse_name(archive, member.name, member.isdir())
                tar.extract(member, folder, filter="data")
        while stream.read(_CHUNK):  # a tar ends before the gzip stream and its checksum do
            pass


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as zipped:
        members = zipped.infolist()
        for member in members:  # all before the first: cheap here
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UserError(f"{archive}: member {member.filename!r} is a link or a device; not unpacked")
            if member.flag_bits & 1:
                raise UserError(f"{archive}: member {member.filename!r} is encrypted; unpack it by hand")
            _refuse_name(archive, member.filename, member.filename.endswith("/"))
        for member in tqdm(members, desc=f"unpacking {archive.name}", unit=" files", disable=None, leave=False):
            zipped.extract(member, folder)


def _refuse_name(archive: Path, name: str, is_folder: bool) -> None:
    """Raise UserError for a member that has no name, one that no file can have, or one that leads out of the folder."""
    parts = name.replace("\\", "/").split("/")
    if not is_folder and not set(parts) - {"", "."}:
        raise UserError(f"{archive}: has a member without a name; not unpacked")
    if "\0" in name:
        raise UserError(f"{archive}: member {name[:60]!r} has a NUL in its name; not unpacked")
    if len(parts) > _DEEPEST or max(len(os.fsencode(part)) for part in parts) > _LONGEST:
        raise UserError(f"{archive}: member {name[:60]!r}... has {len(parts):,} folders or a name of more than "
                        f"{_LONGEST} bytes; not unpacked")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise UserError(f"{archive}: member {name!r} would lie outside the folder; not unpacked")


@contextmanager
def _progress(archive: Path) -> Iterator[IO]:
    """The archive opened for reading, with a bar of the compressed bytes."""
    with archive.open("rb") as raw, tqdm.wrapattr(raw, "read", total=archive.stat().st_size, disable=None, leave=False,
                                                  desc=f"unpacking {archive.name}") as stream:
        yield stream


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


def _set_aside(file: Path, path: Path | None = None) -> None:
    path = path or file
    os.replace(file, path.with_name(path.name + ".bad"))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Errors of the file system, such as a full disk, as one line."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be used ({error.strerror or error}); "
                        "make room or choose another folder") from None
