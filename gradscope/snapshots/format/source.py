"""The files of a snapshot, in a folder or in a zip. Nothing is unpacked, no link is followed, nothing outside is read."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, cast

from gradscope.protocol.failure import BadInput
from gradscope.snapshots.format.damage import Damaged, in_bytes
from gradscope.snapshots.format.inflating import Inflater
from gradscope.snapshots.format.reading import Reading

MANIFEST = "manifest.json"
MAX_FILES = 4096
MAX_EXPANDED_BYTES = 4 * 1024**3
"""What the compressed files of a zip may add up to. Files that are stored as they are do not count: they are no larger
than the zip."""
_MAX_DIRECTORY_BYTES = 2 * 1024**2
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    LookupError,
    OverflowError,
    RuntimeError,
)
"""What the standard library raises on damaged zips, some of it only by accident."""

Span = tuple[int, int]
"""The first byte, and the one after the last."""


class Source(Protocol):
    """Names are relative, with slashes."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """The size of each file."""

    def opened(self, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """A file to be read from its beginning. Reading may raise Damaged or OSError."""

    def spans(self, name: str, spans: Iterable[Span]) -> Iterator[bytes]:
        """Some parts of a file, one after the other. May raise Damaged, also because the file is another one meanwhile, or
        OSError."""

    def is_compressed(self, name: str) -> bool:
        """The file may be far larger than what is on the disk."""


def open_source(path: Path, reading: Reading) -> Source:
    """Raises BadInput if there is no snapshot at `path`, or one that cannot be a snapshot's folder or zip."""
    try:
        if path.is_dir():
            return FolderSource(path, reading)
        if path.is_file():
            return ZipSource(path, reading)
    except Damaged as reason:
        raise BadInput(f"{path} is damaged: {reason}") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    raise BadInput(f"There is no snapshot {path}; expected a folder or a .zip file")


def read_all(source: Source, name: str, limit: int) -> bytes:
    """A whole file. Raises Damaged if it is larger than `limit`."""
    size = source.sizes[name]
    if size > limit:
        raise Damaged(f"it has {in_bytes(size)}; at most {limit} are read")
    with source.opened(name) as file:
        # Not more than there is said to be: memory for all of it is taken at once.
        data = file.read(size + 1)
    if len(data) != size:
        raise Damaged(f"it does not have the {size} bytes that it should")
    return data


def _read_at(file: BinaryIO, start: int, count: int) -> bytes:
    """So many bytes of a file from a place on; mapping it into memory would end the process if it is cut off meanwhile."""
    file.seek(start)
    data = file.read(count)
    if len(data) != count:
        raise Damaged(f"it ends before byte {start + count}")
    return data


def _stamp(status: os.stat_result) -> tuple[int, int]:
    """Tells whether a file is still the same."""
    return status.st_size, status.st_mtime_ns


def _check_unchanged(file: BinaryIO, stamp: tuple[int, int]) -> None:
    if _stamp(os.fstat(file.fileno())) != stamp:
        raise Damaged("it has been changed since the snapshot was opened; open it again")


# -------------------------------------------------------------------------------------------------- a folder


class FolderSource:
    def __init__(self, path: Path, reading: Reading) -> None:
        self.path = path
        self.sizes: dict[str, int] = {}
        self._reading = reading
        self._stamps: dict[str, tuple[int, int]] = {}
        with _opened_plainly(path / MANIFEST, missing=f"it has no {MANIFEST}"):
            pass
        self._list(path, "", depth=0)

    def _list(self, folder: Path, prefix: str, *, depth: int) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_symlink():
                    raise Damaged(f"{name!r:.200} is a link; a snapshot has files of its own")
                self._reading.advance()
                if entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    self.sizes[name], self._stamps[name] = status.st_size, _stamp(status)
                elif entry.is_dir(follow_symlinks=False) and depth == 0:
                    self._list(Path(entry.path), f"{name}/", depth=depth + 1)
                if len(self.sizes) > MAX_FILES:
                    raise Damaged(f"it holds more than {MAX_FILES} files")

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        with _opened_plainly(self.path / name, missing="it is gone") as file:
            yield file

    def spans(self, name: str, spans: Iterable[Span]) -> Iterator[bytes]:
        with self.opened(name) as file:
            _check_unchanged(file, self._stamps[name])
            for start, end in spans:
                self._reading.advance()
                yield _read_at(file, start, end - start)

    def is_compressed(self, name: str) -> bool:
        return False


@contextlib.contextmanager
def _opened_plainly(path: Path, *, missing: str) -> Iterator[BinaryIO]:
    """Opened if it is a file: a link is not followed, and a pipe is not waited for."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        if path.is_symlink():
            raise Damaged(f"{path.name} is a link; a snapshot has files of its own")
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise Damaged(missing) from None
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        is_file = False
    if not is_file:
        os.close(descriptor)
        raise Damaged(f"{path.name} is no file")
    with os.fdopen(descriptor, "rb") as file:
        yield file


# ----------------------------------------------------------------------------------------------------- a zip


class ZipSource:
    """Also of a snapshot's folder that somebody has zipped by hand: compressed, or with the folder's name before it."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path = path
        self._reading = reading
        with _zip_errors(), path.open("rb") as file, zipfile.ZipFile(_Limited(file)) as archive:
            self._stamp = _stamp(os.fstat(file.fileno()))
            members = archive.infolist()
        _check_members(members, self._stamp[0])
        prefix = _prefix(members)
        self._members = {
            member.filename[len(prefix) :]: member
            for member in members
            if member.filename.startswith(prefix) and not member.is_dir()
        }
        self.sizes: dict[str, int] = {name: member.file_size for name, member in self._members.items()}
        self._inflaters: dict[str, Inflater] = {}

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        with _zip_errors(), self.path.open("rb") as file:
            limited = _Limited(file)
            with zipfile.ZipFile(limited) as archive:
                limited.limit = None
                with archive.open(self._members[name]) as member:
                    yield cast(BinaryIO, member)

    def spans(self, name: str, spans: Iterable[Span]) -> Iterator[bytes]:
        member = self._members[name]
        with _zip_errors(), self.path.open("rb") as file:
            _check_unchanged(file, self._stamp)
            first = _start_of_data(file, member)

            def read_at(offset: int, count: int) -> bytes:
                file.seek(first + offset)
                return file.read(min(count, member.compress_size - offset))

            inflater = self._inflaters.setdefault(name, Inflater()) if self.is_compressed(name) else None
            for start, end in spans:
                self._reading.advance()
                if inflater is None:
                    yield _read_at(file, first + start, end - start)
                else:
                    yield inflater.read(read_at, start, end, self._reading.advance)

    def is_compressed(self, name: str) -> bool:
        return self._members[name].compress_type != zipfile.ZIP_STORED


class _Limited(io.BufferedIOBase):
    """A file that is not read in large pieces: zipfile reads the directory of a zip at once, whatever its size."""

    def __init__(self, file: BinaryIO) -> None:
        self.limit: int | None = _MAX_DIRECTORY_BYTES
        self._file = file
        self.seek, self.tell = file.seek, file.tell  # type: ignore[method-assign]

    def seekable(self) -> bool:
        return True

    def read(self, count: int | None = -1) -> bytes:
        if self.limit is None:
            return self._file.read(-1 if count is None else count)
        asked = self.limit + 1 if count is None or count < 0 else count
        if asked > self.limit + 1 or len(data := self._file.read(asked)) > self.limit:
            raise zipfile.BadZipFile(f"Its directory has more than {self.limit} bytes")
        return data


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    if len(members) > MAX_FILES:
        raise Damaged(f"it holds more than {MAX_FILES} files")
    names = set()
    expanded = 0
    for member in members:
        name = member.orig_filename
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or any(sign in name for sign in "\\:\0"):
            raise Damaged(f"{name!r:.200} is no name for a file inside a snapshot")
        if name in names:
            raise Damaged(f"the name {name!r:.200} comes twice in it")
        names.add(name)
        if stat.S_ISLNK(member.external_attr >> 16):
            raise Damaged(f"{name!r:.200} is a link; a snapshot has files of its own")
        if member.flag_bits & 1:
            raise Damaged(f"{name!r:.200} is encrypted")
        if member.compress_type == zipfile.ZIP_STORED:
            if member.file_size != member.compress_size or member.file_size > size:
                raise Damaged(f"{name!r:.200} cannot have {member.file_size} bytes")
        elif member.compress_type == zipfile.ZIP_DEFLATED:
            expanded += member.file_size
        else:
            raise Damaged(f"{name!r:.200} is compressed in a way that is not read; expected deflate, or none")
    if expanded > MAX_EXPANDED_BYTES:
        raise Damaged(
            f"unpacked, it would have {expanded} bytes, and at most {MAX_EXPANDED_BYTES} are read from a compressed zip"
        )


def _prefix(members: list[zipfile.ZipInfo]) -> str:
    """What comes before the names: "", or the one folder that everything is in."""
    found = [member.filename for member in members if PurePosixPath(member.filename).name == MANIFEST]
    for name in sorted(found, key=lambda name: name.count("/")):
        if name.count("/") <= 1:
            return name.removesuffix(MANIFEST)
    raise Damaged(f"it has no {MANIFEST}")


def _start_of_data(file: BinaryIO, member: zipfile.ZipInfo) -> int:
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size:
        raise Damaged("it ends before its data")
    signature, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    if signature != b"PK\3\4":
        raise Damaged("there is no such file where the zip's directory says")
    return member.header_offset + _LOCAL_HEADER.size + int(name_length) + int(extra_length)


@contextlib.contextmanager
def _zip_errors() -> Iterator[None]:
    try:
        yield
    except _ZIP_ERRORS as error:
        reason = str(error).strip("'\".") or type(error).__name__
        raise Damaged(f"it cannot be read as a zip ({reason[:1].lower()}{reason[1:]:.200})") from None
