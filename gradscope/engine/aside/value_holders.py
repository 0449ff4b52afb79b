"""What can change in the user's objects: numbers in tensors and arrays, random generators, and what can only be measured."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradscope.engine.aside.holders import Holder
from gradscope.engine.model.copies import put_back
from gradscope.engine.surroundings.error_parts import safely


class BytesHolder(Holder):
    """A bytearray, or an array of Python's own."""

    def __init__(self, content: Any) -> None:
        self._content, self._before = content, content[:]
        self.content = content

    def differs(self) -> bool:
        return bytes(self._content) != bytes(self._before)

    def put_back(self) -> None:
        self._content[:] = self._before

    def taken(self) -> Any:
        if self.differs():
            self._before = self._content[:]
        return self._before

    def give(self, taken: Any) -> None:
        self._before = taken
        if self.differs():
            self.put_back()


class MemoryHolder(Holder):
    """Memory of a fixed size: a number, an array or a structure of ctypes."""

    def __init__(self, content: Any) -> None:
        self._memory = memoryview(content).cast("B")
        self._before = self._memory.tobytes()

    def differs(self) -> bool:
        return self._memory != self._before

    def put_back(self) -> None:
        self._memory[:] = self._before

    def taken(self) -> bytes:
        if self.differs():
            self._before = self._memory.tobytes()
        return self._before

    def give(self, taken: bytes) -> None:
        self._before = taken
        self.put_back()


class ArrayHolder(Holder):
    """The elements of a numpy array."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._array, self._before = array, array.copy()
        self.content = array
        self.can_be_put_back = bool(array.flags.writeable)

    def differs(self) -> bool:
        # By bytes: NaN is the same as NaN, and of objects those are their addresses.
        return self._array.tobytes() != self._before.tobytes()

    def put_back(self) -> None:
        self._array[...] = self._before

    def taken(self) -> np.ndarray[Any, Any]:
        is_large = self._array.nbytes > _MOST_COMPARED_BYTES
        if samples_of(self._array) != samples_of(self._before) if is_large else self.differs():
            self._before = self._array.copy()
        return self._before

    def give(self, taken: np.ndarray[Any, Any]) -> None:
        self._before = taken
        if self.can_be_put_back and self.differs():
            self.put_back()


_MOST_SAMPLES = 4096
_MOST_COMPARED_BYTES = 1024 * 1024
"""Of a larger array only samples are looked at to see whether it has changed, where that is asked for in every step."""


def samples_of(array: np.ndarray[Any, Any]) -> bytes:
    """A few elements of a large array, evenly spread: what is written to all of it leaves a mark in them."""
    flat = array.reshape(-1) if array.flags.c_contiguous else array.flat
    return np.asarray(flat[:: max(1, array.size // _MOST_SAMPLES)]).tobytes()


class RandomHolder(Holder):
    """A random generator of the user's own: Python's, numpy's or torch's."""

    def __init__(self, get: Callable[[], Any], put: Callable[[Any], object]) -> None:
        self._get, self._put = get, put
        self._before = get()

    @staticmethod
    def of(generator: object) -> RandomHolder | None:
        """None where it is none."""
        if isinstance(generator, random.Random) and not isinstance(generator, random.SystemRandom):
            return RandomHolder(generator.getstate, generator.setstate)
        if isinstance(generator, torch.Generator):
            return RandomHolder(generator.get_state, generator.set_state)
        if isinstance(generator, np.random.RandomState):
            return RandomHolder(generator.get_state, generator.set_state)
        if isinstance(generator, np.random.Generator):
            bits: Any = generator.bit_generator
            return RandomHolder(lambda: bits.state, lambda state: setattr(bits, "state", state))
        return None

    def differs(self) -> bool:
        return not _is_same_state(self._get(), self._before)

    def put_back(self) -> None:
        self._put(self._before)

    def taken(self) -> Any:
        now = self._get()
        if not _is_same_state(now, self._before):
            self._before = now
        return self._before

    def give(self, taken: Any) -> None:
        self._before = taken
        self.put_back()


def _is_same_state(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_is_same_state(one[key], other[key]) for key in one)
    if isinstance(one, tuple) and any(isinstance(part, np.ndarray) for part in one):
        return all(map(_is_same_state, one, other))
    return bool(one == other)


_KeptVersion: Any = torch.autograd._unsafe_preserve_version_counter  # type: ignore[attr-defined]
"""Sets the version of a tensor back when it is left."""


class TensorHolder(Holder):
    """The elements of a tensor where they are copied, else only whether somebody has written to it; its `.grad`, which is
    taken away until the end, and whether it asks for one."""

    def __init__(self, tensor: Tensor, *, is_copied: bool) -> None:
        self._tensor = self.content = tensor
        self._requires_grad = tensor.requires_grad
        self._grad = tensor.grad if tensor.is_leaf else None
        self._version = version_of(tensor)
        self._counter = None if tensor.is_inference() else _KeptVersion(tensor)
        self._copy = tensor.detach().clone() if is_copied else None
        self._sum = self._sum_of_bits()
        self.can_be_put_back = is_copied

    def take_gradient(self) -> None:
        """What is computed meanwhile must not be added to it."""
        if self._tensor.is_leaf:
            self._tensor.grad = None

    def lend_gradient(self) -> None:
        """A copy of it may be read and written to meanwhile."""
        if self._tensor.is_leaf and self._grad is not None:
            self._tensor.grad = self._grad.detach().clone()

    def give_gradient(self) -> None:
        if self._tensor.is_leaf:
            self._tensor.grad = self._grad

    def put_counter_back(self) -> None:
        """Where the numbers are as before: a backward that is still to come would refuse a tensor with another version."""
        if self._copy is None or self._counter is None or version_of(self._tensor) == self._version:
            return
        if is_same(self._tensor, self._copy):
            self._counter.__exit__(None, None, None)

    def differs(self) -> bool:
        if self._tensor.requires_grad != self._requires_grad:
            return True
        # Also where the version has not moved: writing through `.data` leaves no mark in it.
        if self._copy is None:
            return version_of(self._tensor) != self._version or self._sum_of_bits() != self._sum
        return not is_same(self._tensor, self._copy)

    def _sum_of_bits(self) -> int | None:
        """Of a parameter that is not copied."""
        is_parameter = self._tensor.is_leaf and self._requires_grad
        return (
            safely(lambda: _sum_of_bits(self._tensor.detach()), None) if self._copy is None and is_parameter else None
        )

    def put_back(self) -> None:
        if self._tensor.is_leaf and self._tensor.requires_grad != self._requires_grad:
            self._tensor.requires_grad_(self._requires_grad)
        if self._copy is not None and not is_same(self._tensor, self._copy):
            put_back(self._tensor, self._copy)

    def taken(self) -> Tensor | None:
        if self._copy is not None and self.differs():
            self._copy, self._requires_grad = self._tensor.detach().clone(), self._tensor.requires_grad
        return self._copy

    def give(self, taken: Tensor | None) -> None:
        self._copy = taken
        self.put_back()


_WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Whole numbers by their size in bytes."""


def _sum_of_bits(tensor: Tensor) -> int:
    """Another where a number in it is another, but for what cancels."""
    return int(_bits_of(tensor).sum())


def _bits_of(tensor: Tensor) -> Tensor:
    """The same memory as whole numbers: -0.0 is not 0.0, and NaN is the same as NaN."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor
    real = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return real.view(_WHOLE[real.element_size()])


def version_of(tensor: Tensor) -> int:
    """How often somebody has written to it; 0 for a tensor of the inference mode, which counts nothing."""
    return 0 if tensor.is_inference() else tensor._version


def is_same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers, bit for bit."""
    if one.shape != other.shape or one.dtype is not other.dtype or one.device != other.device:
        return False
    if one.layout is torch.sparse_coo and other.layout is torch.sparse_coo:
        # torch compares no sparse tensors.
        return torch.equal(one._indices(), other._indices()) and is_same(one._values(), other._values())
    return one.layout is torch.strided and torch.equal(_bits_of(one.detach()), _bits_of(other.detach()))


class MeasuredHolder(Holder):
    """Something that cannot be put back: it is only seen whether it has moved."""

    can_be_put_back = False

    def __init__(self, measure: Callable[[], Any], content: object, alive: object = None) -> None:
        """`alive` is held, so that no other object gets an id that was measured."""
        self._measure, self.content, self._alive = measure, content, alive
        self._before = safely(measure, None)

    def differs(self) -> bool:
        return bool(safely(self._measure, None) != self._before)

    def put_back(self) -> None:
        return None

    def taken(self) -> Any:
        return self._before

    def give(self, taken: Any) -> None:
        return None

    def measured(self) -> Any:
        """What it is now."""
        return self._measure()
