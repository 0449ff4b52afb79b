"""Writing a snapshot: what goes into it, how large it is, how far it has come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from gradscope.protocol.arrays import ByteArray
from gradscope.protocol.limits import (
    Count,
    FilePath,
    Names,
)
from gradscope.protocol.parts import Part

ATTACHED_PIECE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A file that the app adds to a snapshot, a plot as PNG for example."""

    name: str
    data: ByteArray = field(repr=False)

    def pieces(self) -> Iterator[Attachment]:
        """The file in pieces that are sent one by one; at least one, so that an empty file is one as well."""
        for start in range(0, max(len(self.data), 1), ATTACHED_PIECE_BYTES):
            yield replace(self, data=self.data[start : start + ATTACHED_PIECE_BYTES])


@dataclass(frozen=True, kw_only=True)
class Attach:
    """A file for the next Export, or its next piece: what has the same name is joined. Reply: Pong or Failed."""

    attachment: Attachment


@dataclass(frozen=True, kw_only=True)
class MeasureSnapshot:
    """How large each part of a snapshot would be now. Reply: SnapshotSizes or Failed."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a snapshot at `path` (it must not exist): a folder, or one file if the name ends with .zip.

    ExportProgress on the way; reply: Exported, Cancelled or Failed. Nothing is left behind but by an Exported.
    """

    path: FilePath
    parts: tuple[Part, ...] = tuple(Part)


@dataclass(frozen=True, kw_only=True)
class CancelExport:
    """Break off the Exports that were asked for before. Answered by the reader thread; the Export replies Cancelled."""


@dataclass(frozen=True, kw_only=True)
class PartSize:
    part: Part
    size_bytes: Count


@dataclass(frozen=True, kw_only=True)
class SnapshotSizes:
    """What the engine writes of a snapshot; what the app attaches is not in it."""

    parts: tuple[PartSize, ...]
    always_bytes: Count
    """What belongs to every snapshot."""


@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """The request was broken off because a person wanted it so; nothing has changed."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    path: str
    files: Names
    size_bytes: Count


@dataclass(frozen=True, kw_only=True)
class ExportProgress:
    """How far the Export has come, a few times a second."""

    done_bytes: Count
    total_bytes: Count
