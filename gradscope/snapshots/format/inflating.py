"""Reading parts of a deflated file: not from its beginning each time, and never the whole into memory.

On the way the decompressor is copied every 16 MiB, with the 32 KiB that it looks back on; from there a later reading begins.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

from gradscope.snapshots.format.damage import Damaged

POINT_BYTES = 16 * 1024**2
"""Of what comes out, between two places at which reading can begin."""
_IN_BYTES = 16 * 1024
_OUT_BYTES = 1 << 22

ReadAt = Callable[[int, int], bytes]
"""read_at(offset, count): bytes of the deflated data; fewer at its end."""


@dataclass
class _Place:
    position: int
    """In what comes out."""
    offset: int
    """Of the next byte that goes in."""
    decompressor: Any

    def copy(self) -> _Place:
        return _Place(self.position, self.offset, self.decompressor.copy())


class Inflater:
    """The places found so far in one deflated file, and where the last reading ended. For any thread."""

    def __init__(self) -> None:
        start = _Place(0, 0, zlib.decompressobj(-zlib.MAX_WBITS))
        self._points = [start]
        self._here = start.copy()
        self._lock = Lock()

    def read(self, read_at: ReadAt, start: int, end: int, on_piece: Callable[[], None]) -> bytes:
        """What comes out from `start` to `end`; `on_piece` is called after each piece, and may raise to break off.

        Raises Damaged if it ends before, and zlib.error. Memory grows with what there really is.
        """
        with self._lock:
            self._go_back(start)
            found: list[bytes] = []
            while self._here.position < end:
                is_before = self._here.position < start
                piece = self._next(read_at, min((start if is_before else end) - self._here.position, _OUT_BYTES))
                if not is_before:
                    found.append(piece)
                on_piece()
            return found[0] if len(found) == 1 else b"".join(found)

    def _go_back(self, start: int) -> None:
        """To the last known place before `start`; where the last reading ended is often the best."""
        point = self._points[bisect_right([point.position for point in self._points], start) - 1]
        if not point.position <= self._here.position <= start:
            self._here = point.copy()

    def _next(self, read_at: ReadAt, most: int) -> bytes:
        here = self._here
        while True:
            data = read_at(here.offset, _IN_BYTES)
            piece: bytes = here.decompressor.decompress(data, most)
            here.offset += len(data) - len(here.decompressor.unconsumed_tail)
            here.position += len(piece)
            if here.position >= self._points[-1].position + POINT_BYTES:
                self._points.append(here.copy())
            if piece:
                return piece
            if not data or here.decompressor.eof:
                raise Damaged(f"it ends after {here.position} bytes")
