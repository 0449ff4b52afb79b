"""Making any tensor readable: a flat run of numbers that statistics can be taken of, and what has to be known of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradscope.engine.surroundings.transforms import is_wrapped
from gradscope.protocol.numbers import number

_PLAIN_TYPES = (Tensor, nn.Parameter)
_FLOAT32, _STRIDED = torch.float32, torch.strided
_HALF = (torch.float16, torch.bfloat16)
GPU_FLOATS = (torch.float32, *_HALF)
"""Floats that summaries on a GPU read as they are."""
_WHOLE = frozenset({torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool})
_WIDE_UNSIGNED = (torch.uint16, torch.uint32)
"""torch has hardly any operations for them; int64 holds them all. Nor for uint64, which nothing holds."""


@dataclass(frozen=True)
class Readable:
    """`values` is contiguous or 1-d, real and dense, detached, of dtype float32, float64, an integer type or bool; from
    `readable_in_place` also float16 or bfloat16, on a GPU."""

    values: Tensor
    note: str = ""
    """"of abs()", "of the 12 stored values (1.2% dense)" ..."""
    before: Tensor | None = None
    """If given, what is looked at is `values` minus this, element by element; both are contiguous and of one dtype."""

    def flat(self) -> Tensor:
        """All numbers that are looked at, 1-d."""
        with torch.no_grad():
            return (self.values if self.before is None else self.values - self.before).reshape(-1)

    def divided_by(self, scale: float) -> Readable:
        """The numbers without the loss scale that a gradient still carries."""
        note = f"{self.note}, divided by the loss scale" if self.note else "divided by the loss scale"
        with torch.no_grad():
            return Readable(self.values / scale, note)


def change_between(now: Tensor, before: Tensor) -> Readable:
    """now - before, for tensors of one shape, dtype and device; in place where their elements lie in the same order."""
    with torch.no_grad():
        now = now.detach()
        if plain_address(now) and plain_address(before):
            return Readable(now, before=before)
        if is_plain_on_gpu(now) and is_plain_on_gpu(before):
            return Readable(now, before=before)
        _refuse_distributed(now)
        return _readable(now - before)


class Unreadable(Exception):
    """This kind of tensor has no numbers to look at; the text says why."""


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """The shape; a nested tensor's ragged dimensions are -1."""
    if tensor.is_nested:
        return (tensor.size(0), *(-1 for _ in range(tensor.dim() - 1)))
    return tuple(tensor.shape)


def dtype_name(dtype: torch.dtype | torch.layout) -> str:
    return str(dtype).removeprefix("torch.")


def at_least_float32(tensor: Tensor) -> torch.dtype:
    """A dtype in which the tensor's numbers can be divided by a loss scale without being lost."""
    return tensor.dtype if tensor.dtype in (torch.float64, torch.complex64, torch.complex128) else torch.float32


def readable(tensor: Tensor) -> Readable:
    """The numbers of a tensor, without copying where they can be read in place.

    Complex numbers are read as their magnitude; a sparse tensor as its stored values; a nested one as all its values;
    half and eight-bit floats as float32 (exact). Raises Unreadable for tensors that carry no data.
    """
    if plain_address(tensor):
        return Readable(tensor.detach())
    _refuse_distributed(tensor)
    with torch.no_grad():
        try:
            return _readable(tensor.detach())
        except (RuntimeError, NotImplementedError, TypeError) as error:
            if type(tensor) in _PLAIN_TYPES and tensor.layout is torch.strided:
                raise
            kind = dtype_name(tensor.layout) if type(tensor) in _PLAIN_TYPES else type(tensor).__name__
            raise Unreadable(f"torch cannot read a tensor of this kind ({kind}): {error}") from error


def readable_in_place(tensor: Tensor) -> Readable:
    """The same for summaries, which a GPU makes of half floats as they are."""
    return Readable(tensor.detach()) if is_plain_on_gpu(tensor) else readable(tensor)


def _refuse_distributed(tensor: Tensor) -> None:
    # By name: importing torch.distributed takes a while, and not every build has it.
    kind = type(tensor).__name__
    if kind in ("DTensor", "FlatParameter", "ShardedTensor"):
        raise Unreadable(
            f"a {kind}: this process holds only its own part of the values, which would be shown as if they were all"
        )


def is_plain_on_gpu(tensor: Tensor) -> bool:
    """The common case there: neighbouring floats of at most 32 bits, of which there are some."""
    return (
        tensor.is_cuda
        and tensor.dtype in GPU_FLOATS
        and _lies_plainly(tensor)
        and bool(tensor.numel() and tensor.data_ptr())
    )


def _lies_plainly(tensor: Tensor) -> bool:
    return (
        type(tensor) in _PLAIN_TYPES
        and tensor.layout is _STRIDED
        and not tensor.is_nested
        and tensor.is_contiguous()
        and not tensor.is_neg()
        and not is_wrapped(tensor)
    )


def plain_address(tensor: Tensor) -> int:
    """Where the numbers of a plain tensor lie. 0 for any other, and where there are none: it is empty, its memory was given
    back, or torch only knows that all are zero."""
    is_plain = tensor.is_cpu and tensor.dtype is _FLOAT32 and _lies_plainly(tensor) and tensor.numel()
    return tensor.data_ptr() if is_plain else 0


def whole_number(tensor: Tensor) -> float | None:
    """The number in a plain tensor on the CPU that has one whole number; None for any other."""
    is_one = tensor.is_cpu and tensor.dtype in _WHOLE and tensor.numel() == 1 and _lies_plainly(tensor)
    return float(tensor.item()) if is_one and tensor.data_ptr() else None


def _readable(tensor: Tensor) -> Readable:
    if is_wrapped(tensor):
        raise Unreadable("a functorch tensor (inside torch.func) has no values to look at")
    if tensor.is_meta or type(tensor).__name__ == "FakeTensor":
        raise Unreadable("a meta tensor has no values")
    if tensor.dtype is torch.uint64:
        raise Unreadable("torch cannot compute with uint64")
    if tensor._is_zerotensor():
        tensor = torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    if tensor.layout is _STRIDED and not tensor.is_nested and tensor.numel() and not tensor.untyped_storage().nbytes():
        raise Unreadable("its memory was given back")
    note = ""
    if tensor.layout is torch.sparse_coo:
        tensor = tensor.coalesce()
        note = _density(tensor.values().numel(), tensor.numel())
        tensor = tensor.values()
    elif tensor.layout in (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc):
        note = _density(tensor.values().numel(), tensor.numel())
        tensor = tensor.values()
    elif tensor.is_nested:
        note = "of all values of the nested tensor"
        tensor = (
            tensor.values() if tensor.layout is torch.jagged else torch.cat([t.reshape(-1) for t in tensor.unbind()])
        )
    elif tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor, note = tensor.dequantize(), "dequantised"
    if tensor.is_complex():
        tensor, note = tensor.abs(), "of abs()"
    if tensor.dtype in _HALF or (tensor.is_floating_point() and tensor.element_size() == 1):
        tensor = tensor.to(torch.float32)
    if tensor.dtype in _WIDE_UNSIGNED:
        tensor = tensor.to(torch.int64)
    # The imaginary part of a conjugate is a view with its sign still to be turned, which numpy cannot read.
    return Readable(_flat(tensor.resolve_neg()), note)


def _flat(tensor: Tensor) -> Tensor:
    if tensor.is_contiguous():
        return tensor.view(-1)
    if tensor.dim() and torch.ops.aten.is_non_overlapping_and_dense(tensor):
        # Channels-last, a transposed matrix ...: the numbers lie together, only in another order.
        return tensor.as_strided((tensor.numel(),), (1,))
    return tensor.reshape(-1)


def _density(stored: int, total: int) -> str:
    share = 100 * stored / total if total else 0.0
    return f"of the {stored} stored values ({number(share, digits=3)}% dense)"
