"""Answers to "show me the values": pages, pictures and exact histograms of one tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from gradscope.engine.book.values import ValuesUnavailable
from gradscope.engine.quantities.planes import plane_of
from gradscope.engine.quantities.values import Unreadable, dtype_name, readable
from gradscope.engine.serving.shown import Shown
from gradscope.engine.session import Session
from gradscope.engine.surroundings.usercode import describe_error
from gradscope.protocol.messages import FetchHistogram, FetchPage, FetchPicture, Histogram, Page, Picture, Unavailable
from gradscope.snapshots import slices


def look(
    session: Shown, request: FetchPage | FetchPicture | FetchHistogram
) -> Page | Picture | Histogram | Unavailable:
    """Answer one request; Unavailable where the values cannot be had, with the reason."""
    try:
        tensor = _tensor_of(session, request)
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


def _tensor_of(session: Shown, request: FetchPage | FetchPicture | FetchHistogram) -> Tensor:
    if request.step is None:
        return session.values(request.subject)
    found = session.timeline.seen(request.step, request.subject) if isinstance(session, Session) else None
    if found is None:
        raise ValuesUnavailable(f"The values of step {request.step} are not here: have them computed again")
    return found.values


def _page(tensor: Tensor, request: FetchPage) -> Page:
    plane, index = plane_of(tensor, request.index)
    rows, columns = slices.page_part(request.row, request.rows, request.column, request.columns)
    part = plane[rows, columns]
    if part.is_complex():
        part = part.abs()
    return Page(
        subject=request.subject,
        shape=tuple(tensor.shape),
        dtype=dtype_name(tensor.dtype),
        index=index,
        row=rows.start,
        column=columns.start,
        values=part.cpu().to(torch.float64).numpy(),
        integer=not tensor.is_floating_point() and not tensor.is_complex(),
    )


def _picture(tensor: Tensor, request: FetchPicture) -> Picture:
    plane, index = plane_of(tensor, request.index)
    if plane.is_complex():
        plane = plane.abs()
    block = slices.block_of(tuple(plane.shape), request.side)
    # numpy has no half precision of every kind.
    dtype = torch.float64 if plane.dtype is torch.float64 else torch.float32
    values, unit = slices.in_float32(plane.to(device="cpu", dtype=dtype).resolve_neg().numpy())
    return Picture(
        subject=request.subject,
        shape=tuple(tensor.shape),
        index=index,
        block=block,
        values=slices.strongest(values, block),
        unit=unit,
    )


def _histogram(tensor: Tensor, request: FetchHistogram) -> Histogram:
    edges, counts, nan, inf = slices.histogram(readable(tensor).flat().cpu().numpy(), request.bins)
    return Histogram(subject=request.subject, edges=edges, counts=counts, nan=nan, inf=inf)
