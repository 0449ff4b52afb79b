"""Frames that have to wait and for which there is no room in memory: first in, first out, in a file that has no name.

The file goes with the process, however that ends.
"""

from __future__ import annotations

import tempfile
from collections import deque
from typing import IO

MAX_SPILLED_BYTES = 2 * 1024 * 1024 * 1024


class Spill:
    """Not thread-safe. The file is made when it is needed first."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
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
            self._file = tempfile.TemporaryFile(prefix="gradscope-")  # noqa: SIM115 - lives as long as this object
        self._file.seek(self._end)
        self._file.write(frame)
        self._file.flush()
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
        length = self._lengths.popleft()
        self._file.seek(self._start)
        frame = self._file.read(length)
        self._start += length
        if not self._lengths:
            self._start = self._end = 0
            self._file.truncate(0)
        if len(frame) < length:
            raise OSError(f"{length} bytes were written, {len(frame)} can be read")
        return frame
