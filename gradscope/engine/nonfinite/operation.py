"""Which operation in a layer made the first NaN or Inf: the call once more, on copies of its inputs and of the layer.

Nothing that training goes on with is touched: the layer is a deep copy, the inputs are clones, and what its code can reach
beside them is put back (`Aside`). Where that cannot be, or another run comes to something else, nothing is said.
"""

from __future__ import annotations

import copy
import linecache
import math
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gradscope.engine.aside.door import Aside
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.model.modules import modules_in
from gradscope.engine.nonfinite.counts import counts_of
from gradscope.engine.surroundings.error_parts import wire_text
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import is_users_file
from gradscope.protocol.nonfinite import Operation

Line = tuple[str, int]
"""A file, and the number of a line in it."""
MOST_BYTES = 256 * 1024 * 1024
"""Of inputs and of a layer that are copied."""
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size, slice)
_LONGEST_LINE = 200


class _NotAgain(Exception):
    """This call cannot be made again."""


@dataclass(frozen=True)
class Findings:
    """What running a layer again has shown."""

    operation: Operation | None
    is_mask: bool
    """-Inf was written on purpose, and no operation made NaN or Inf otherwise."""
    notes: tuple[str, ...] = ()
    """What could not be put back."""


NOTHING = Findings(None, is_mask=False)


@dataclass(frozen=True)
class Again:
    """A call of a layer that can be made once more."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @staticmethod
    def of(module: nn.Module, inputs: tuple[tuple[Any, ...], dict[str, Any]]) -> Again | None:
        """None for torch's own layers, and where the inputs cannot be copied."""
        if type(module).__module__.partition(".")[0] == "torch":
            return None
        try:
            if _bytes_of(inputs) > MOST_BYTES:
                return None
            args, kwargs = _copied(inputs)
        except _NotAgain:
            return None
        return Again(module, args, kwargs)

    def run(self, around: Callable[[], AbstractContextManager[Any]]) -> Findings:
        """Call a copy of the layer inside of `around()`, and watch each operation."""
        tensors = [tensor for part in modules_in(self.module) for tensor in _own_tensors(part)]
        if _bytes_of(tensors) > MOST_BYTES:
            return NOTHING
        finder = _Finder()
        aside = Aside({"layer": self.module}, copies_parameters=False)
        try:
            with aside:
                module = copy.deepcopy(self.module)
                finder.expect(buffer for part in modules_in(module) for buffer in part._buffers.values())
                with around(), torch.no_grad(), finder:
                    # Not its __call__: the hooks on it have seen this call.
                    module.forward(*self.args, **self.kwargs)
        except BaseException as error:
            # The user's code; what it found before it raised is true all the same.
            if is_interruption(error):
                raise
        return Findings(finder.found, is_mask=finder.has_masks and finder.found is None, notes=aside.notes)


class _Finder(TorchFunctionMode):
    """Keeps the first operation that makes NaN or Inf of finite numbers, and not on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Operation | None = None
        self._is_over = False
        self._masks: list[Tensor] = []
        """Tensors with -Inf that was written on purpose, and what came of them."""

    @property
    def has_masks(self) -> bool:
        return bool(self._masks)

    def expect(self, tensors: Any) -> None:
        """These are meant to be so."""
        self._masks += [tensor for tensor in tensors if tensor is not None and counts_of(tensor).is_mask_like]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._is_over:
            return func(*args, **kwargs)
        given = _tensors_in((args, kwargs))
        # Before it runs: it may write into them.
        bad = [tensor for tensor in given if counts_of(tensor).is_bad and not self._is_mask(tensor)]
        has_mask = any(self._is_mask(tensor) for tensor in given)
        result = func(*args, **kwargs)
        if bad:
            return result
        written = given if getattr(func, "__name__", "") == "__setitem__" else _tensors_in(result)
        for tensor in written:
            counts = counts_of(tensor)
            if not counts.is_bad:
                continue
            is_meant = not given or _names_infinity((args, kwargs))
            if is_meant or (has_mask and counts.is_mask_like):
                self._masks.append(tensor)
            else:
                line = line_of_user()
                self.found = None if line is None else operation_at(getattr(func, "__name__", ""), line)
                self._is_over = True
            break
        return result

    def _is_mask(self, tensor: Tensor) -> bool:
        return any(tensor is mask for mask in self._masks)


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


def _own_tensors(module: nn.Module) -> list[Tensor]:
    return [tensor for tensor in (*module._parameters.values(), *module._buffers.values()) if tensor is not None]


def _copied(value: Any) -> Any:
    """The same arguments with clones of all tensors. Raises _NotAgain for what may hold others."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, _PLAIN):
        return value
    if type(value) in (tuple, list):
        return type(value)(_copied(item) for item in value)
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    raise _NotAgain


def _bytes_of(value: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors_in(value))


def _tensors_in(value: Any) -> list[Tensor]:
    return [tensor for _, tensor in tensor_leaves(value)]
