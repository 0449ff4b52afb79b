"""Answers to "show me the values" from a snapshot: what the engine would have answered at its moment."""

from __future__ import annotations

import math

import numpy as np

from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import (
    FetchDifferencePicture,
    FetchHistogram,
    FetchPage,
    FetchPicture,
    Histogram,
    Page,
    Picture,
    Unavailable,
)
from gradscope.snapshots import pieces, slices
from gradscope.snapshots.format.tensor_file import TensorInfo
from gradscope.snapshots.pieces import Array, Part
from gradscope.snapshots.snapshot import Snapshot, ValuesMissing

MAX_LOOKED_AT = 1 << 30
"""Values that are read for one picture or histogram."""
PlaneRequest = FetchPage | FetchPicture | FetchDifferencePicture


def look(
    snapshot: Snapshot, request: FetchPage | FetchPicture | FetchHistogram
) -> Page | Picture | Histogram | Unavailable:
    """Answer one request; Unavailable where the values cannot be had, with the reason."""
    try:
        info = snapshot.need_info(request.subject)
        match request:
            case FetchPage():
                return _page(snapshot, info, request)
            case FetchPicture():
                return _picture(snapshot, info, request)
            case FetchHistogram():
                return _histogram(snapshot, info, request)
    except (ValuesMissing, BadInput) as reason:
        return Unavailable(subject=request.subject, reason=str(reason))
    except MemoryError:
        return Unavailable(subject=request.subject, reason="These values need more memory than there is")


def plane_of(snapshot: Snapshot, info: TensorInfo, request: PlaneRequest) -> tuple[Part, tuple[int, ...]]:
    """(what reads parts of the rows x columns at the index of the leading dimensions, the index as it was used)."""
    index = slices.used_index(info.shape, request.index)
    return snapshot.plane(request.subject, slices.plane_number(info.shape, index)), index


def _page(snapshot: Snapshot, info: TensorInfo, request: FetchPage) -> Page:
    plane, index = plane_of(snapshot, info, request)
    rows, columns = slices.page_part(request.row, request.rows, request.column, request.columns)
    part = plane(rows, columns)
    return Page(
        subject=request.subject,
        shape=info.shape,
        dtype=info.dtype.label,
        index=index,
        row=rows.start,
        column=columns.start,
        values=real(part).astype(np.float64),
        integer=part.dtype.kind not in "fc",
    )


def _picture(snapshot: Snapshot, info: TensorInfo, request: FetchPicture) -> Picture:
    plane, index = plane_of(snapshot, info, request)
    shape = slices.plane_shape(info.shape)
    need_few(math.prod(shape), "draw")
    block = slices.block_of(shape, request.side)
    values, unit = pieces.picture(shape, block, lambda rows, columns: real(plane(rows, columns)))
    return Picture(subject=request.subject, shape=info.shape, index=index, block=block, values=values, unit=unit)


def _histogram(snapshot: Snapshot, info: TensorInfo, request: FetchHistogram) -> Histogram:
    count = math.prod(info.shape)
    need_few(count, "count")
    flat = snapshot.flat(request.subject)
    edges, counts, nan, inf = pieces.histogram(lambda start, stop: real(flat(start, stop)), count, request.bins)
    return Histogram(subject=request.subject, edges=edges, counts=counts, nan=nan, inf=inf)


def need_few(count: int, to: str) -> None:
    """Raise ValuesMissing where it would take minutes."""
    if count > MAX_LOOKED_AT:
        raise ValuesMissing(f"There are {count:,} values, and at most {MAX_LOOKED_AT:,} are read to {to} them")


def real(array: Array) -> Array:
    """Complex numbers are shown as their magnitude."""
    with np.errstate(over="ignore"):
        return np.abs(array) if array.dtype.kind == "c" else array
