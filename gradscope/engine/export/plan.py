"""One file of a snapshot that is to be written: its size is known before, its bytes are made when they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gradscope.protocol.parts import Part
from gradscope.snapshots.writer import Chunk


@dataclass(frozen=True, kw_only=True)
class PlannedFile:
    name: str
    part: Part | None
    """None: belongs to every snapshot."""
    size_bytes: int
    chunks: Callable[[], Iterable[Chunk]]


def of_bytes(name: str, data: Chunk, part: Part | None = None) -> PlannedFile:
    """A file that is ready."""
    return PlannedFile(name=name, part=part, size_bytes=len(data), chunks=lambda: [data])
