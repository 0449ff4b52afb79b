"""Writing a snapshot, whole or not at all: under another name beside the target, renamed when it is complete and on disk.

A full disk, an error or a cancellation leaves nothing behind. A killed process leaves its `.partial`, which is in nobody's
way and can be deleted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, cast

import numpy as np
import numpy.typing as npt

from gradscope.protocol.failure import BadInput

Chunk = bytes | memoryview | npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]
"""progress(bytes done, bytes in all), a few times a megabyte; it may raise to cancel."""

ZIP_SUFFIX = ".zip"
_CHUNK_BYTES = 4 * 1024**2
_COMPRESSED = frozenset({".json", ".csv", ".html", ".svg"})
"""The tensors are not: they hardly shrink, and as they are they can be mapped into memory."""


class _Files(Protocol):
    """Where files go, one after the other."""

    def file(self, name: str) -> contextlib.AbstractContextManager[BinaryIO]: ...

    def finish(self) -> None:
        """Everything is on disk when this returns."""

    def abandon(self) -> None:
        """Remove what there is."""


class SnapshotWriter:
    """What `new_snapshot` gives: takes the files one by one."""

    def __init__(self, files: _Files, *, total_bytes: int, progress: Progress | None) -> None:
        self.sizes: dict[str, int] = {}
        """What has been written, by name."""
        self._files = files
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._progress = progress

    def write(self, name: str, chunks: Iterable[Chunk]) -> None:
        """One file. Raises BadInput if the name leads outside, or is there already."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.name or any(sign in name for sign in "\\:\0"):
            raise BadInput(f"{name!r} is no name for a file inside a snapshot")
        if name in self.sizes:
            raise BadInput(f"The snapshot has a file {name!r} already")
        self.sizes[name] = 0
        with self._files.file(name) as file:
            for part in _parts(chunks):
                file.write(part)
                self.sizes[name] += len(part)
                self._advance(len(part))

    def _advance(self, size: int) -> None:
        self._done_bytes += size
        if self._progress is not None:
            self._progress(min(self._done_bytes, self._total_bytes), self._total_bytes)


@contextlib.contextmanager
def new_snapshot(
    path: str | os.PathLike[str], *, total_bytes: int = 0, progress: Progress | None = None
) -> Iterator[SnapshotWriter]:
    """What is written inside the block is a snapshot at `path` when the block ends, and gone if it raises.

    A folder, or one file if the name ends with .zip. Raises BadInput if `path` exists already, or cannot be written to.
    """
    target = Path(path).expanduser().absolute()
    # Not Path.exists, which raises where a name is too long.
    if os.path.lexists(target):
        raise BadInput(f"{target} exists already; expected a new name for the snapshot")
    # Not too long a name for the file system, whatever the target's is.
    partial = target.with_name(f"{target.name[:40]}.{secrets.token_hex(4)}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        files: _Files = (_ZipFiles if target.suffix.lower() == ZIP_SUFFIX else _FolderFiles)(partial)
    except OSError as error:
        raise BadInput(f"{target.parent} cannot be written to: {error.strerror or error}") from error
    try:
        yield SnapshotWriter(files, total_bytes=total_bytes, progress=progress)
        files.finish()
        _rename(partial, target)
    except BaseException as error:
        files.abandon()
        if isinstance(error, OSError):
            raise BadInput(f"The snapshot could not be written to {target}: {error.strerror or error}") from error
        raise
    with contextlib.suppress(OSError):
        _sync_folder(target.parent)


def _parts(chunks: Iterable[Chunk]) -> Iterator[memoryview]:
    """In pieces that are small enough to tell the progress, and to cancel between two of them."""
    for chunk in chunks:
        if len(chunk):
            data = memoryview(chunk).cast("B")  # type: ignore[arg-type]
            for start in range(0, len(data), _CHUNK_BYTES):
                yield data[start : start + _CHUNK_BYTES]


class _FolderFiles:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[BinaryIO]:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            yield file
            _sync(file)

    def finish(self) -> None:
        for folder in {self._folder, *(path for path in self._folder.rglob("*") if path.is_dir())}:
            _sync_folder(folder)

    def abandon(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class _ZipFiles:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("xb")
        self._archive = zipfile.ZipFile(self._file, "w")

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[BinaryIO]:
        member = zipfile.ZipInfo(name, time.localtime()[:6])
        member.external_attr = 0o644 << 16
        if PurePosixPath(name).suffix in _COMPRESSED:
            member.compress_type = zipfile.ZIP_DEFLATED
        with self._archive.open(member, "w", force_zip64=True) as file:
            yield cast(BinaryIO, file)

    def finish(self) -> None:
        self._archive.close()
        _sync(self._file)
        self._file.close()

    def abandon(self) -> None:
        # Closing writes the directory, which may fail as well; nobody needs it any more.
        with contextlib.suppress(OSError, ValueError):
            self._archive.close()
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


def _rename(partial: Path, target: Path) -> None:
    """Without replacing what may have come there in the meantime."""
    if partial.is_dir():
        # Fails if there is a file, or a folder with something in it.
        partial.rename(target)
        return
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:
        # A file system without links.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        partial.rename(target)
    else:
        with contextlib.suppress(OSError):
            partial.unlink()


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """The names in a folder; Windows has no such thing."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
