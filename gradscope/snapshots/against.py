"""Answers to "compare with the snapshot at this path", whatever it is that is compared: a session or another snapshot."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import (
    Difference,
    FetchDifferencePicture,
    FetchDifferences,
    Picture,
    Unavailable,
)
from gradscope.protocol.subjects import SubjectKey
from gradscope.snapshots import slices
from gradscope.snapshots.comparing import compare, strongest_difference
from gradscope.snapshots.format.reading import Reading
from gradscope.snapshots.looking import need_few, plane_of
from gradscope.snapshots.pieces import Flat, Part
from gradscope.snapshots.reader import open_snapshot
from gradscope.snapshots.snapshot import Snapshot, ValuesMissing

Shape = tuple[int, ...]
DifferenceRequest = FetchDifferences | FetchDifferencePicture

OurFlat = Callable[[SubjectKey], tuple[Shape, Flat]]
"""The shape of a subject, and its elements. May raise ValuesMissing."""


class OtherSnapshots:
    """Opens the snapshots that something is compared with; the last one stays open until its file is another."""

    def __init__(self, reading: Reading | None = None) -> None:
        self._reading = reading
        self._last: tuple[str, int, Snapshot] | None = None

    def open(self, path: str) -> Snapshot:
        """Raises BadInput, as `open_snapshot` does."""
        try:
            written_at = Path(path).stat().st_mtime_ns
        except OSError:
            written_at = 0
        if self._last is None or self._last[:2] != (path, written_at):
            self._last = None
            self._last = (path, written_at, open_snapshot(path, self._reading))
        return self._last[2]


def difference(key: SubjectKey, ours: OurFlat, other: Snapshot) -> Difference:
    """One subject's difference; a `problem` where one side has no values, or another shape."""
    try:
        info = other.need_info(key)
        shape, flat = ours(key)
        if shape != info.shape:
            return Difference(subject=key, problem=f"The shapes are {_sides(shape)} and {_sides(info.shape)}")
        return compare(key, shape, flat, other.flat(key))
    except (ValuesMissing, BadInput) as reason:
        return Difference(subject=key, problem=str(reason))
    except MemoryError:
        return Difference(subject=key, problem="The values need more memory than there is")


def our_values(snapshot: Snapshot) -> OurFlat:
    """A snapshot as the side that is compared with another."""
    return lambda key: (snapshot.need_info(key).shape, snapshot.flat(key))


def difference_picture(
    request: FetchDifferencePicture, shape: Shape, plane: Part, other: Snapshot
) -> Picture | Unavailable:
    """`plane`: parts of the slice that is shown, of a tensor of this shape."""
    try:
        info = other.need_info(request.subject)
        if info.shape != shape:
            reason = f"There is no difference to draw: the shapes are {_sides(shape)} and {_sides(info.shape)}"
            return Unavailable(subject=request.subject, reason=reason)
        theirs, index = plane_of(other, info, request)
        sides = slices.plane_shape(shape)
        need_few(math.prod(sides), "draw")
        block = slices.block_of(sides, request.side)
        values, unit = strongest_difference(sides, block, plane, theirs)
    except (ValuesMissing, BadInput) as reason:
        return Unavailable(subject=request.subject, reason=str(reason))
    return Picture(subject=request.subject, shape=shape, index=index, block=block, values=values, unit=unit)


def _sides(shape: Shape) -> str:
    return f"({', '.join(str(side) for side in shape)})"
