"""Watches the operations of the user's code, and knows of every tensor that is not finite which operation made it so.

What goes into an operation and comes out finite was taken away: of two operations that make NaN, the one counts whose NaN
is still there in the end.
"""

from __future__ import annotations

import linecache
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.nonfinite.counts import NONE, Counts, counts_of
from gradscope.engine.surroundings.error_parts import wire_text
from gradscope.engine.surroundings.usercode import is_users_file
from gradscope.protocol.nonfinite import Operation

Line = tuple[str, int]
"""A file, and the number of a line in it."""
_CALL = nn.Module._call_impl.__code__
_LONGEST_LINE = 200


@dataclass(frozen=True)
class Made:
    """NaN or Inf that an operation has made of finite numbers, or that was there from the start."""

    operation: Operation | None
    """None where no line of the user's was running."""
    counts: Counts
    """Of what came out of it."""
    layer: str | None
    """The innermost layer that it was called in; None outside of all."""
    number: int
    """They are numbered as they are found; 0: from the start."""
    is_meant: bool = False
    """NaN that was written on purpose, to be filled in later: where there is other NaN beside it, that counts."""

    @property
    def is_given(self) -> bool:
        """In the batch, or in a parameter."""
        return not self.number


class Finder(TorchFunctionMode):
    """`with finder:` around the code; then `maker_of` tells."""

    def __init__(self, layers: Mapping[str, nn.Module] | None = None) -> None:
        """`layers` are those that are to be named."""
        super().__init__()
        self._names = {id(module): name for name, module in (layers or {}).items()}
        self._made: dict[int, Made | None] = {}
        """By where a tensor lies that is not finite; None: nobody has seen how it came to be so."""
        self._count = 0
        self._masks: dict[int, Tensor] = {}
        """Tensors with -Inf that was written on purpose, and what came of them, by their ids."""

    @property
    def has_masks(self) -> bool:
        return bool(self._masks)

    def expect(self, tensors: Iterable[Tensor | None]) -> None:
        """These may be masks, or bad, from the start."""
        for tensor in tensors:
            counts = NONE if tensor is None else counts_of(tensor)
            if tensor is not None and counts.is_mask_like:
                self._masks[id(tensor)] = tensor
            elif tensor is not None:
                self.know(tensor)

    def know(self, tensor: Tensor) -> None:
        """Where it is bad, it is so from the start."""
        counts = counts_of(tensor)
        if counts.is_bad:
            self._made[_place_of(tensor)] = Made(None, counts, None, number=0)

    def maker_of(self, value: Any) -> Made | None:
        """Of the first tensor in it that is not finite; None where there is none, or it was not seen."""
        bad = next((tensor for tensor in tensors_in(value) if counts_of(tensor).is_bad), None)
        return None if bad is None else self._made.get(_place_of(bad))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        given = tensors_in((args, kwargs))
        # Before it runs: it may write into them.
        bad = [tensor for tensor in given if counts_of(tensor).is_bad and id(tensor) not in self._masks]
        has_mask = any(id(tensor) in self._masks for tensor in given)
        is_meant = not given or _names_infinity((args, kwargs))
        places = {_place_of(tensor) for tensor in given}
        # Nobody has seen how an attribute (`.grad`) came to be what it is.
        is_inherited = bool(bad) or name == "__get__"
        origin = _first([self._made.get(_place_of(tensor)) for tensor in bad])
        result = func(*args, **kwargs)
        for tensor in given[:1] if name == "__setitem__" else tensors_in(result):
            counts, place = counts_of(tensor), _place_of(tensor)
            if not counts.is_bad:
                self._masks.pop(id(tensor), None)
                if _is_whole(tensor):
                    self._made.pop(place, None)
                continue
            if not is_inherited and counts.is_mask_like and (is_meant or has_mask):
                self._masks[id(tensor)] = tensor
                continue
            if not is_inherited:
                origin, is_inherited = self._made_here(name, counts, is_meant=is_meant), True
            self._masks.pop(id(tensor), None)
            # Another part of the same memory may have been bad before.
            self._made[place] = _first([self._made.get(place), origin]) if place in places else origin
        return result

    def _made_here(self, name: str, counts: Counts, *, is_meant: bool) -> Made:
        line = line_of_user()
        operation = None if line is None else operation_at(name, line)
        self._count += 1
        return Made(operation, counts, self._layer(), self._count, is_meant)

    def _layer(self) -> str | None:
        frame: FrameType | None = sys._getframe(1) if self._names else None
        while frame is not None:
            name = self._names.get(id(frame.f_locals.get("self"))) if frame.f_code is _CALL else None
            if name is not None:
                return name
            frame = frame.f_back
        return None


def _first(origins: list[Made | None]) -> Made | None:
    known = [made for made in origins if made is not None]
    return min(known, key=lambda made: (made.is_meant, made.number), default=None)


def _place_of(tensor: Tensor) -> int:
    """The same for tensors that share memory, where that can be asked for."""
    try:
        return int(tensor.untyped_storage().data_ptr()) or id(tensor)
    except RuntimeError:
        return id(tensor)


def _is_whole(tensor: Tensor) -> bool:
    """Nothing else lies in its memory."""
    try:
        return tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    except RuntimeError:
        return True


def _names_infinity(value: Any, depth: int = 0) -> bool:
    """Whether an argument is an infinite number or NaN."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Tensor):
        return value.dim() == 0 and counts_of(value).is_mask_like
    if isinstance(value, dict):
        value = tuple(value.values())
    return isinstance(value, (tuple, list)) and depth < 2 and any(_names_infinity(item, depth + 1) for item in value)


def line_of_user() -> Line | None:
    """The user's innermost line that is running; None where there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_users_file(frame.f_code.co_filename):
        frame = frame.f_back
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def operation_at(name: str, line: Line) -> Operation:
    file, number = line
    code = linecache.getline(file, number).strip()
    return Operation(
        name=wire_text(name.strip("_"), _LONGEST_LINE),
        source=wire_text(f"{Path(file).name}, line {number}", _LONGEST_LINE),
        code=wire_text(code, _LONGEST_LINE),
    )


def tensors_in(value: Any) -> list[Tensor]:
    return [tensor for _, tensor in tensor_leaves(value)]
