"""Where tensors lie in memory: asked of many at once, since all that a training has is looked at in every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradscope.engine.quantities.kernel.extension import NATIVE
from gradscope.engine.surroundings.error_parts import safely
from gradscope.engine.surroundings.transforms import is_wrapped
from gradscope.protocol.arrays import IntArray

PLAIN = (Tensor, torch.nn.Parameter)
"""Types of tensors that are no more than their numbers."""
_NOWHERE = 0, 0


class Spans(NamedTuple):
    """An address and so many bytes for each, one after the other in 64 bits; twice 0 where that is not known, or nothing is
    there. The addresses hold as long as the tensors do, and nobody gives them other memory."""

    memory: bytes
    is_whole: bool
    """Of all it is known."""

    def rows(self) -> IntArray:
        """The same, a row for each."""
        return np.frombuffer(self.memory, dtype=np.int64).reshape(-1, 2)

    def numbers(self) -> list[int]:
        """The same, one after the other: of a few they are at hand sooner than as an array."""
        return memoryview(self.memory).cast("q").tolist()


def spans_of(tensors: Sequence[Tensor]) -> Spans:
    """Where the numbers of each lie one after the other in this process's memory."""
    if NATIVE is None:
        found = np.array([_span_of(tensor) for tensor in tensors], dtype=np.int64).reshape(-1, 2)
        return Spans(found.tobytes(), bool(found[:, 0].all()))
    memory, unknown = NATIVE.spans([*tensors])
    if not unknown:
        return Spans(memory, is_whole=True)
    found = np.frombuffer(memory, dtype=np.int64).reshape(-1, 2).copy()
    found[unknown] = [_span_of(tensors[i]) for i in unknown]
    return Spans(found.tobytes(), bool(found[:, 0].all()))


def _span_of(tensor: Tensor) -> tuple[int, int]:
    return safely(lambda: _asked(tensor), _NOWHERE) if type(tensor) in PLAIN else _NOWHERE


def _asked(tensor: Tensor) -> tuple[int, int]:
    if tensor.layout is not torch.strided or not tensor.is_cpu or not tensor.is_contiguous():
        return _NOWHERE
    if tensor.is_neg() or tensor.is_conj() or is_wrapped(tensor):
        return _NOWHERE
    size = tensor.numel() * tensor.element_size()
    return (tensor.data_ptr(), size) if size else _NOWHERE
