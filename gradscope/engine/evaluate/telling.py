"""Values as they are told: bounded texts, and what there is to say of the tensors in them."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.quantities.planes import plane_of
from gradscope.engine.quantities.summary import SummaryBatch
from gradscope.engine.quantities.values import Unreadable, dtype_name, readable, shape_of
from gradscope.engine.surroundings.error_parts import class_name, safe_text, safely, wire_text
from gradscope.engine.surroundings.usercode import describe_error
from gradscope.protocol.messages.evaluate import MAX_TENSORS_TOLD, PAGE_SIDE, TensorTold
from gradscope.protocol.numbers import number
from gradscope.protocol.subjects import COLUMNS, MAX, MEAN, MIN, NAN, SubjectKey
from gradscope.protocol.subjects import INF as INF_COLUMN
from gradscope.snapshots import slices

MOST_CHARACTERS = 8_000
"""Of a value's text."""
MOST_IN_TENSOR = 64
"""A tensor with more elements is told by its summary."""
_DIGITS_IN_LINE = 7
_MOST_IN_INNER = 8
"""The same of one inside a list or a dict."""
_MOST_ITEMS, _MOST_DEPTH, _MOST_IN_HISTOGRAM, _BINS = 40, 5, 4_000_000, 60
_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    deque: ("deque([", "])"),
}
_DICTS = (dict, OrderedDict, defaultdict)
_PLAIN = (type(None), bool, int, float, complex, range, slice, torch.dtype, torch.device, torch.Size)

SubjectOf = Callable[[Tensor], SubjectKey | None]


def text_of(value: object, *, most: int = MOST_CHARACTERS) -> str:
    """As a prompt would show it, cut where it is long. May call the `__repr__` of a class of the user's."""
    text = _text_of(value, 0, most)
    return text if len(text) <= most else f"{text[:most]} ..."


def line_of(value: object, *, most: int = 200) -> str:
    """The same in one line."""
    is_one = isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta
    single = number_of(value) if is_one or type(value) is float or isinstance(value, np.floating) else None
    if single is not None:
        return number(single, digits=_DIGITS_IN_LINE)
    return " ".join(text_of(value, most=most).split())


def number_of(value: object) -> float | None:
    """The value as a number, where it is one: of Python's, numpy's or torch's. Complex ones are none."""
    if isinstance(value, Tensor):
        if value.numel() != 1 or value.is_complex():
            return None
        return safely(lambda: float(value.detach()), None)
    if isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating)):
        return safely(lambda: float(value), None)
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "biuf":
        return safely(lambda: float(value.reshape(-1)[0]), None)
    return None


def tensors_in(value: object, subject_of: SubjectOf) -> tuple[TensorTold, ...]:
    """The first tensors of a value, as they are now."""
    if isinstance(value, nn.Module) or not isinstance(value, (Tensor, list, tuple, dict)):
        return ()
    leaves: list[tuple[str, Tensor]] = safely(lambda: list(islice(tensor_leaves(value), MAX_TENSORS_TOLD)), [])
    return tuple(_told(leaf, tensor, safely(partial(subject_of, tensor), None)) for leaf, tensor in leaves)


# ------------------------------------------------------------------------------------------- texts


def _text_of(value: object, depth: int, most: int) -> str:
    kind = type(value)
    if kind in (str, bytes):
        return _text_of_characters(value, most)  # type: ignore[arg-type]
    if isinstance(value, Tensor):
        return _text_of_tensor(value, most, MOST_IN_TENSOR if depth == 0 else _MOST_IN_INNER)
    if kind in _PLAIN:
        return safe_text(value, repr, most=most)
    if kind in _BRACKETS:
        return _text_of_items(value, depth, most)
    if kind in _DICTS:
        return _text_of_dict(value, depth, most)  # type: ignore[arg-type]
    return safe_text(value, repr, most=most)


def _text_of_characters(value: str | bytes, most: int) -> str:
    if len(value) <= most:
        return safe_text(value, repr, most=most + 2)
    return f"{safe_text(value[:most], repr, most=most + 2)} ... ({len(value):,} in all)"


def _text_of_items(value: Any, depth: int, most: int) -> str:
    opening, closing = _BRACKETS[type(value)]
    if not value and type(value) in (set, frozenset):
        return f"{type(value).__name__}()"
    if depth >= _MOST_DEPTH:
        return f"{opening}...{closing}"
    parts = list(_parts((_text_of(item, depth + 1, most) for item in islice(value, _MOST_ITEMS)), most))
    more = len(value) - len(parts)
    comma = "," if type(value) is tuple and len(value) == 1 else ""
    return f"{opening}{', '.join(parts)}{comma}{f', ... {more:,} more' if more else ''}{closing}"


def _text_of_dict(value: dict[Any, Any], depth: int, most: int) -> str:
    if depth >= _MOST_DEPTH:
        return "{...}"
    pairs = (
        f"{_text_of(key, depth + 1, most)}: {_text_of(item, depth + 1, most)}"
        for key, item in islice(dict.items(value), _MOST_ITEMS)
    )
    parts = list(_parts(pairs, most))
    more = dict.__len__(value) - len(parts)
    return f"{{{', '.join(parts)}{f', ... {more:,} more' if more else ''}}}"


def _parts(texts: Iterable[str], most: int) -> Iterator[str]:
    length = 0
    for text in texts:
        yield text
        length += len(text)
        if length > most:
            return


def _text_of_tensor(tensor: Tensor, most: int, most_elements: int) -> str:
    is_small = safely(lambda: tensor.numel() <= most_elements and not tensor.is_meta, False)
    if is_small:
        return safe_text(tensor, repr, most=most)
    return safely(lambda: _summary_line(tensor), f"a {class_name(type(tensor))}")


def _summary_line(tensor: Tensor) -> str:
    shape = " x ".join("?" if side < 0 else str(side) for side in shape_of(tensor))
    line = f"{class_name(type(tensor))} {shape}, {dtype_name(tensor.dtype)} on {tensor.device}"
    summary, note = _summarised(tensor)
    if not np.isnan(summary[MEAN]):
        low, mean, high = (number(float(summary[column]), digits=5) for column in (MIN, MEAN, MAX))
        line += f": min {low}, mean {mean}, max {high}"
    bad = [
        f"{int(summary[column]):,} {word}"
        for column, word in ((NAN, "NaN"), (INF_COLUMN, "Inf"))
        if summary[column] > 0
    ]
    graph = f"grad_fn {class_name(type(tensor.grad_fn))}" if tensor.grad_fn is not None else ""
    leaf = "requires grad" if tensor.requires_grad and not graph else ""
    return ", ".join(part for part in (line, *bad, leaf, graph, note) if part)


# ------------------------------------------------------------------------------------------- tensors


def _told(leaf: str, tensor: Tensor, subject: SubjectKey | None) -> TensorTold:
    summary, note = _summarised(tensor)
    edges, counts = _histogram(tensor)
    index, values = _page(tensor)
    return TensorTold(
        leaf=wire_text(leaf, 500),
        shape=safely(lambda: shape_of(tensor), ()),
        dtype=dtype_name(tensor.dtype),
        device=str(tensor.device),
        requires_grad=bool(tensor.requires_grad),
        grad_fn="" if tensor.grad_fn is None else class_name(type(tensor.grad_fn)),
        note=note,
        summary=summary,
        edges=edges,
        counts=counts,
        index=index,
        values=values,
        integer=not tensor.is_floating_point() and not tensor.is_complex(),
        subject=subject,
    )


def _summarised(tensor: Tensor) -> tuple[np.ndarray[Any, Any], str]:
    """(the numbers of a report's columns, what has to be known to read them)."""
    nothing = np.full(len(COLUMNS), np.nan)
    try:
        look = readable(tensor)
        batch = SummaryBatch()
        batch.set(0, look)
        return batch.finish(1)[0][0].astype(np.float64), look.note
    except Unreadable as reason:
        return nothing, str(reason)
    except Exception as error:
        return nothing, f"these values cannot be read: {describe_error(error)}"


def _histogram(tensor: Tensor) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    def made() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        if tensor.numel() > _MOST_IN_HISTOGRAM:
            return nothing
        edges, counts, _, _ = slices.histogram(readable(tensor).flat().cpu().numpy(), _BINS)
        return edges.astype(np.float64), counts.astype(np.int64)

    nothing = np.empty(0), np.empty(0, np.int64)
    try:
        return made()
    except Exception:
        # It is told in the note why there are no numbers.
        return nothing


def _page(tensor: Tensor) -> tuple[tuple[int, ...], np.ndarray[Any, Any]]:
    try:
        with torch.no_grad():
            plane, index = plane_of(tensor.detach(), ())
            part = plane[:PAGE_SIDE, :PAGE_SIDE]
            part = part.abs() if part.is_complex() else part
            return index, part.cpu().to(torch.float64).numpy().copy()
    except Exception:
        return (), np.empty((0, 0))
