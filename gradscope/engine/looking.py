"""Answers to "show me the values": pages, pictures and exact histograms of one tensor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gradscope.engine.quantities.values import Unreadable, dtype_name, readable
from gradscope.engine.session import Session, ValuesUnavailable
from gradscope.engine.usercode import describe_error
from gradscope.protocol.messages import FetchHistogram, FetchPage, FetchPicture, Histogram, Page, Picture, Unavailable

MAX_PAGE = 512
MAX_SIDE = 1024
MAX_BINS = 512


def look(
    session: Session, request: FetchPage | FetchPicture | FetchHistogram
) -> Page | Picture | Histogram | Unavailable:
    """Answer one request; Unavailable where the values cannot be had, with the reason."""
    try:
        tensor = session.values(request.subject)
        with torch.no_grad():
            match request:
                case FetchPage():
                    return _page(tensor, request)
                case FetchPicture():
                    return _picture(tensor, request)
                case FetchHistogram():
                    return _histogram(tensor, request)
    except (ValuesUnavailable, Unreadable) as reason:
        return Unavailable(subject=request.subject, reason=str(reason))
    except (RuntimeError, ValueError, NotImplementedError, TypeError) as error:
        return Unavailable(subject=request.subject, reason=f"These values cannot be shown: {describe_error(error)}")


def _slice(tensor: Tensor, index: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
    """(the rows x columns at `index` of the leading dimensions, the index as it was used)."""
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.dim() == 0:
        return tensor.reshape(1, 1), ()
    if tensor.dim() == 1:
        return tensor.reshape(-1, 1), ()
    leading = tensor.shape[:-2]
    if 0 in leading:
        return tensor.new_empty((0, 0)), ()
    # An index that is too long, too short or out of range is brought into range: the shape may just have changed.
    used = tuple(min(max(index[i] if i < len(index) else 0, 0), int(size) - 1) for i, size in enumerate(leading))
    return tensor[used], used


def _page(tensor: Tensor, request: FetchPage) -> Page:
    plane, index = _slice(tensor, request.index)
    rows, columns = max(request.rows, 0), max(request.columns, 0)
    row, column = max(request.row, 0), max(request.column, 0)
    part = plane[row : row + min(rows, MAX_PAGE), column : column + min(columns, MAX_PAGE)]
    if part.is_complex():
        part = part.abs()
    return Page(
        subject=request.subject,
        shape=tuple(tensor.shape),
        dtype=dtype_name(tensor.dtype),
        index=index,
        row=row,
        column=column,
        values=part.cpu().to(torch.float64).numpy(),
        integer=not tensor.is_floating_point() and not tensor.is_complex(),
    )


def _picture(tensor: Tensor, request: FetchPicture) -> Picture:
    plane, index = _slice(tensor, request.index)
    if plane.is_complex():
        plane = plane.abs()
    side = min(max(request.side, 1), MAX_SIDE)
    block = tuple(max(1, math.ceil(size / side)) for size in plane.shape)
    # On the CPU and in float32: no half-precision pooling, and MPS lacks some of it.
    values = plane.to(device="cpu", dtype=torch.float32)
    if block != (1, 1) and values.numel():
        values = functional.avg_pool2d(values[None, None], block, ceil_mode=True, count_include_pad=False)[0, 0]
    return Picture(
        subject=request.subject,
        shape=tuple(tensor.shape),
        index=index,
        block=(block[0], block[1]),
        values=values.numpy(),
    )


def _histogram(tensor: Tensor, request: FetchHistogram) -> Histogram:
    array: np.ndarray[Any, Any] = readable(tensor).flat().cpu().numpy()
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    nan = inf = 0
    if array.dtype.kind == "f":
        nan, inf = int(np.isnan(array).sum()), int(np.isinf(array).sum())
        if nan or inf:
            array = array[np.isfinite(array)]
    if array.size == 0:
        counts, edges = np.zeros(0, dtype=np.int64), np.zeros(0)
    else:
        counts, edges = np.histogram(array.astype(np.float64), bins=_bins(array, request.bins))
    return Histogram(subject=request.subject, edges=edges, counts=counts.astype(np.int64), nan=nan, inf=inf)


def _bins(array: np.ndarray[Any, Any], wanted: int) -> Any:
    bins = min(max(wanted, 1), MAX_BINS)
    low, high = float(array.min()), float(array.max())
    if low == high:
        return np.array([low - 0.5 * (abs(low) or 1.0), low + 0.5 * (abs(low) or 1.0)])
    if array.dtype.kind in "iu" and high - low < bins:
        return np.arange(low - 0.5, high + 1.0)
    return np.linspace(low, high, bins + 1)
