"""Tensors as a safetensors file, one after the other: never more than one of them is copied at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from gradscope.engine.book.values import ValuesUnavailable
from gradscope.engine.export.plan import PlannedFile
from gradscope.engine.quantities.values import dtype_name
from gradscope.engine.surroundings.transforms import is_wrapped
from gradscope.engine.surroundings.usercode import describe_error
from gradscope.protocol.failure import BadInput
from gradscope.protocol.parts import Part
from gradscope.snapshots.format.tensor_file import DTYPE_OF_LABEL, RESERVED, DType, Shape, layout, nbytes_of
from gradscope.snapshots.writer import Chunk

Fetch = Callable[[], Tensor]
"""Gives a tensor; called once to know its form, and again to write it. May raise ValuesUnavailable."""


class Unsavable(Exception):
    """The format cannot hold this tensor; the text says why."""


def plan_tensors(
    file: str, part: Part, tensors: Iterable[tuple[str, Fetch]], left_out: list[str], *, tell_unavailable: bool = False
) -> PlannedFile:
    """A file of named tensors. What it cannot hold is added to `left_out`, with the reason.

    `tell_unavailable`: so are, counted by reason, those whose values cannot be had.
    """
    forms: dict[str, tuple[DType, Shape]] = {}
    fetches: dict[str, Fetch] = {}
    unavailable: Counter[str] = Counter()
    for original, fetch in tensors:
        # As in the JSON files, half a character becomes a question mark.
        name = original.encode("utf-8", "replace").decode()
        try:
            if name in forms or name == RESERVED:
                raise Unsavable("there is another tensor of this name")
            tensor = savable(fetch())
        except ValuesUnavailable as reason:
            unavailable[str(reason)] += 1
        except Unsavable as reason:
            left_out.append(f"{file}: {name}: {reason}")
        else:
            forms[name] = DTYPE_OF_LABEL[dtype_name(tensor.dtype)], tuple(tensor.shape)
            fetches[name] = fetch
    if tell_unavailable:
        left_out += [f"{file}: {_subjects(number)}: {reason}" for reason, number in unavailable.items()]
    head, order = layout(forms)

    def chunks() -> Iterator[Chunk]:
        yield head
        for name in order:
            yield _bytes_of(name, fetches[name], nbytes_of(*forms[name]))

    size = len(head) + sum(nbytes_of(*form) for form in forms.values())
    return PlannedFile(name=file, part=part, size_bytes=size, chunks=chunks)


def _subjects(number: int) -> str:
    return "1 subject" if number == 1 else f"{number} subjects"


def savable(tensor: Tensor) -> Tensor:
    """The tensor, dense, as a type that the format has; not copied where it is so already. Raises Unsavable."""
    if tensor.is_meta or type(tensor).__name__ == "FakeTensor" or is_wrapped(tensor):
        raise Unsavable("it has no values of its own")
    if tensor.is_nested:
        raise Unsavable("the format has no nested tensors")
    try:
        dense = tensor.detach()
        if dense.layout is not torch.strided:
            dense = dense.to_dense()
        if dense.is_quantized:
            dense = dense.dequantize()
    except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
        raise Unsavable(describe_error(error)) from error
    if dtype_name(dense.dtype) not in DTYPE_OF_LABEL:
        raise Unsavable(f"the format has no {dtype_name(dense.dtype)}")
    return dense


def _bytes_of(name: str, fetch: Fetch, size: int) -> Chunk:
    try:
        with torch.no_grad():
            tensor = savable(fetch()).resolve_conj().resolve_neg().cpu().contiguous()
            data: Chunk = tensor.reshape(-1).view(torch.uint8).numpy()
    except RuntimeError as error:
        raise BadInput(f"The tensor {name} could not be read for the snapshot: {describe_error(error)}") from error
    if len(data) != size:
        raise RuntimeError(f"The tensor {name} has changed while the snapshot was written")
    return data
