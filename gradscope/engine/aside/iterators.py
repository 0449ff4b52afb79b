"""Iterators that are half-way through: which can be copied, and how far the others are."""

from __future__ import annotations

import gc
import operator
import warnings
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from gradscope.engine.surroundings.error_parts import safe_text, safely

_NO_LENGTH = -1
_SUSPENDED = (GeneratorType, CoroutineType, AsyncGeneratorType)


def is_suspended_kind(kind: type) -> bool:
    """Of a generator or a coroutine: where it stands can be seen, and not be changed."""
    return kind in _SUSPENDED


def is_iterator_kind(kind: type) -> bool:
    """One of Python's own: of a list, a range, of `itertools`, `zip`, `map`."""
    return kind.__module__ in ("builtins", "itertools") and hasattr(kind, "__next__") and kind not in _SUSPENDED


def copy_of_iterator(iterator: Any, memo: dict[int, Any]) -> Any | None:
    """Another one that stands at the same place, and moves by itself; None where there can be none.

    `memo` has the copies that were made, by the ids of what they are of: what two share, their copies share.
    """
    if id(iterator) not in memo:
        with warnings.catch_warnings():
            # Python 3.12 says that those of itertools will not be copied for ever; 3.14 does not copy them.
            warnings.simplefilter("ignore")
            memo[id(iterator)] = safely(lambda: _copied(iterator, memo), None)
    return memo[id(iterator)]


def parts_of(iterator: Any) -> list[Any]:
    """What one of Python's own iterators goes through; [] where it does not say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reduced: Any = safely(lambda: iterator.__reduce__(), ())
    return list(reduced[1]) if len(reduced) > 1 and type(reduced[1]) is tuple else []


class _NotCopied(Exception):
    """Something inside cannot be copied."""


def _copied(iterator: Any, memo: dict[int, Any]) -> Any:
    make, arguments, *state = iterator.__reduce__()
    copy = make(*(_part(part, memo) for part in arguments))
    if state and state[0] is not None:
        inner = state[0]
        if type(inner) is tuple:
            # The list in which cycle() collects is its own.
            inner = tuple(list(part) if type(part) is list else _part(part, memo) for part in inner)
        copy.__setstate__(inner)
    return copy


def _part(part: Any, memo: dict[int, Any]) -> Any:
    if not hasattr(type(part), "__next__"):
        # What is gone through is looked at by itself.
        return part
    copy = copy_of_iterator(part, memo) if is_iterator_kind(type(part)) else None
    if copy is None:
        raise _NotCopied
    return copy


def place_of(iterator: Any) -> Any:
    """Something that is another after the iterator has moved, as far as that can be seen."""
    if type(iterator) not in _SUSPENDED:
        return _length(iterator), safe_text(iterator, repr)
    frame = getattr(iterator, "gi_frame", None) or getattr(iterator, "cr_frame", None)
    if frame is None:
        return None
    held = gc.get_referents(iterator)
    # The loops inside it are among what it holds, and are seen to move where its variables are not.
    return frame.f_lasti, [id(value) for value in held], [_length(value) for value in held]


def _length(iterator: Any) -> int:
    if not hasattr(type(iterator), "__length_hint__"):
        return _NO_LENGTH
    return safely(lambda: operator.length_hint(iterator, _NO_LENGTH), _NO_LENGTH)
