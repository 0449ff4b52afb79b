"""Frames that have to wait and for which there is no room in memory: first in, first out, in a file that has no name.

The file goes with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections import deque

MAX_SPILLED_BYTES = 2 * 1024 * 1024 * 1024


class Spill:
    """Not thread-safe. The file is made when it is needed first."""

    def __init__(self) -> None:
        self._file: io.FileIO | None = None
        self._lengths: deque[int] = deque()
        self._start = self._end = 0

    def __len__(self) -> int:
        """How many frames wait."""
        return len(self._lengths)

    def put(self, frame: bytes) -> None:
        """Raises OSError where there is no more room; nothing is changed then."""
        if self._end - self._start + len(frame) > MAX_SPILLED_BYTES:
            raise OSError(f"{MAX_SPILLED_BYTES} bytes wait already")
        if self._file is None:
            # Lives as long as this object. Without a buffer: what the disk has not taken would stay in it, and fail all
            # that comes after.
            self._file = tempfile.TemporaryFile(prefix="gradscope-", buffering=0)  # noqa: SIM115
        self._file.seek(self._end)
        rest = memoryview(frame)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._lengths.append(len(frame))
        self._end += len(frame)

    def close(self) -> None:
        """What waits is gone."""
        self._lengths.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def take(self) -> bytes:
        """The oldest frame. Raises OSError if it cannot be read."""
        assert self._file is not None
        length, start = self._lengths.popleft(), self._start
        # Whether it can be read or not: the next one begins behind it.
        self._start += length
        try:
            self._file.seek(start)
            return _read(self._file, length)
        finally:
            if not self._lengths:
                self._start = self._end = 0
                with contextlib.suppress(OSError):
                    self._file.truncate(0)


def _read(file: io.FileIO, length: int) -> bytes:
    frame = bytearray()
    while len(frame) < length:
        piece = file.read(length - len(frame))
        if not piece:
            raise OSError(f"{length} bytes were written, {len(frame)} can be read")
        frame += piece
    return bytes(frame)
