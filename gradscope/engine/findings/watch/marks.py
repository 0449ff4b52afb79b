"""What is known of tensors while a forward runs, by their identity. None of them is kept alive."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from torch import Tensor

T = TypeVar("T")


class Marks(Generic[T]):
    """A tensor that has died takes its mark along, even if another one gets its id."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Tensor], T]] = {}

    def put(self, tensor: Tensor, value: T) -> None:
        self._known[id(tensor)] = weakref.ref(tensor), value

    def get(self, tensor: object) -> T | None:
        known = self._known.get(id(tensor))
        return known[1] if known is not None and known[0]() is tensor else None

    def drop(self, tensor: Tensor) -> None:
        self._known.pop(id(tensor), None)

    def clear(self) -> None:
        self._known.clear()

    def __bool__(self) -> bool:
        return bool(self._known)


def tensors_of(value: Any, depth: int = 0) -> Iterator[Tensor]:
    """Those in it, also in tuples, lists and dicts, two levels down."""
    if isinstance(value, Tensor):
        yield value
    elif depth < 2 and isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_of(item, depth + 1)
    elif depth < 2 and isinstance(value, dict):
        yield from tensors_of(tuple(value.values()), depth)
