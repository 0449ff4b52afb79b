"""Answers to "show me the values" from a snapshot: what the engine would have answered at its moment."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import FetchHistogram, FetchPage, FetchPicture, Histogram, Page, Picture, Unavailable
from gradscope.snapshots import slices
from gradscope.snapshots.snapshot import Snapshot, ValuesMissing
from gradscope.snapshots.tensor_file import TensorInfo

Array = np.ndarray[Any, Any]


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
                return _histogram(snapshot, request)
    except (ValuesMissing, BadInput) as reason:
        return Unavailable(subject=request.subject, reason=str(reason))
    except MemoryError:
        return Unavailable(subject=request.subject, reason="These values need more memory than there is")


def read_plane(
    snapshot: Snapshot, info: TensorInfo, request: FetchPage | FetchPicture, part: tuple[slice, ...] = ()
) -> tuple[Array, tuple[int, ...]]:
    """(rows x columns at the index of the leading dimensions, the index as it was used); only `part` is decoded."""
    if len(info.shape) < 2:
        flat = snapshot.values(request.subject)
        return flat.reshape(-1, 1)[part], ()
    if 0 in info.shape[:-2]:
        return np.zeros((0, 0), dtype=np.float32), ()
    index = slices.used_index(info.shape, request.index)
    return snapshot.values(request.subject, index + part), index


def _page(snapshot: Snapshot, info: TensorInfo, request: FetchPage) -> Page:
    rows, columns = slices.page_part(request.row, request.rows, request.column, request.columns)
    part, index = read_plane(snapshot, info, request, (rows, columns))
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
    plane, index = read_plane(snapshot, info, request)
    block = slices.block_of(plane.shape, request.side)
    values, unit = slices.in_float32(real(plane))
    return Picture(
        subject=request.subject,
        shape=info.shape,
        index=index,
        block=block,
        values=slices.means(values, block),
        unit=unit,
    )


def _histogram(snapshot: Snapshot, request: FetchHistogram) -> Histogram:
    values = real(snapshot.values(request.subject)).reshape(-1)
    edges, counts, nan, inf = slices.histogram(values, request.bins)
    return Histogram(subject=request.subject, edges=edges, counts=counts, nan=nan, inf=inf)


def real(array: Array) -> Array:
    """Complex numbers are shown as their magnitude."""
    with np.errstate(over="ignore"):
        return np.abs(array) if array.dtype.kind == "c" else array
