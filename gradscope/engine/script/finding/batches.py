"""The batches that a script's DataLoaders have given: told when they are used, since many libraries load ahead."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.script.stations import Station

_MOST_WAITING = 64
_KNOWN_SAMPLERS = frozenset({"builtins", "torch", "accelerate", "transformers", "lightning", "pytorch_lightning"})
"""Whose `__len__` only counts. One of the user's may draw random numbers, or make its batches there."""


def length_of(iterator: Any) -> int | None:
    """How many batches a DataLoader's iterator gives; None where only the user's code could tell."""
    sampler = getattr(iterator, "_index_sampler", None)
    for _ in range(4):
        if sampler is None:
            break
        if type(sampler).__module__.partition(".")[0] not in _KNOWN_SAMPLERS:
            return None
        sampler = getattr(sampler, "batch_sampler", None) or getattr(sampler, "sampler", None)
    try:
        return len(iterator)
    except Exception:
        return None


class Waiting:
    """A batch that was loaded, and has not been used. It is not kept alive."""

    def __init__(self, batch: Any, iterator: Any, number: int, length: int | None) -> None:
        tensors = list(_tensors(batch))
        self.pointers = {pointer_of(tensor) for tensor in tensors}
        self._tensors = [weakref.ref(tensor) for tensor in tensors]
        # A weak reference is the same object for the same iterator, as long as one is kept.
        self.iterator = weakref.ref(iterator)
        self.number, self.length = number, length
        self.station: Station | None = None

    def batch(self) -> Any:
        """Its tensors, as far as they are alive."""
        alive = [tensor for reference in self._tensors if (tensor := reference()) is not None]
        return alive[0] if len(alive) == 1 else tuple(alive)


class WaitingBatches:
    def __init__(self) -> None:
        self._waiting: list[Waiting] = []

    @property
    def are_any(self) -> bool:
        return bool(self._waiting)

    def add(self, waiting: Waiting) -> bool:
        """Whether it is the only one."""
        self._waiting = [*self._waiting[-_MOST_WAITING:], waiting]
        return len(self._waiting) == 1

    def used_by(self, inputs: Any, *, is_first: bool) -> Waiting | None:
        """The one whose memory is in the inputs of a model; where none is, and this is the first call, the one that came
        first: it was copied to another device, or the model is given something that was made of it."""
        if not self._waiting:
            return None
        pointers = {pointer_of(tensor) for tensor in _tensors(inputs)}
        used = next((waiting for waiting in self._waiting if waiting.pointers & pointers), None)
        if used is None and is_first:
            used = self._waiting[0]
        if used is not None:
            # What is older, and was not used, will not be.
            self._waiting = self._waiting[self._waiting.index(used) + 1 :]
        return used


def pointer_of(tensor: Tensor) -> int:
    """Of the memory that a tensor has, perhaps with others; 0 where it has none."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return 0


def _tensors(value: Any) -> Iterator[Tensor]:
    return (tensor for _, tensor in tensor_leaves(value))
