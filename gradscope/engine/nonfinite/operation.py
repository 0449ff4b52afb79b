"""Which operation in a layer made the first NaN or Inf: the call once more, on copies of its inputs and of the layer.

Nothing that training goes on with is touched: the layer is a deep copy, the inputs are clones, and what its code can reach
beside them is put back (`Aside`). Where that cannot be, or another run comes to something else, nothing is said.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.engine.aside.door import Aside
from gradscope.engine.model.leaves import Inputs
from gradscope.engine.model.modules import modules_in
from gradscope.engine.nonfinite.finder import Finder, tensors_in
from gradscope.engine.surroundings.error_parts import module_name
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.protocol.nonfinite import Operation

MOST_BYTES = 256 * 1024 * 1024
"""Of a layer that is copied, and of the inputs of all calls that are kept at a time."""
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size, slice)


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
    size: int
    """Bytes of the copies."""

    @staticmethod
    def of(module: nn.Module, inputs: Inputs, *, most_bytes: int = MOST_BYTES) -> Again | None:
        """None for torch's own layers, and where the inputs cannot be copied or are larger than that."""
        if module_name(type(module)).partition(".")[0] == "torch":
            return None
        size = _bytes_of(inputs)
        if size > most_bytes:
            return None
        try:
            args, kwargs = _copied(inputs)
        except _NotAgain:
            return None
        return Again(module, args, kwargs, size)

    def run(self, around: Callable[[], AbstractContextManager[Any]]) -> Findings:
        """Call a copy of the layer inside of `around()`, and watch each operation."""
        tensors = [tensor for part in modules_in(self.module) for tensor in _own_tensors(part)]
        if _bytes_of(tensors) > MOST_BYTES:
            return NOTHING
        finder, made = Finder(), None
        aside = Aside({"layer": self.module}, copies_parameters=False)
        try:
            with aside:
                module = copy.deepcopy(self.module)
                finder.expect(buffer for part in modules_in(module) for buffer in part._buffers.values())
                finder.expect(tensors_in((self.args, self.kwargs)))
                with around(), torch.no_grad(), finder:
                    # Not its __call__: the hooks on it have seen this call.
                    output = module.forward(*self.args, **self.kwargs)
                made = finder.maker_of(output)
        except BaseException as error:
            # The user's code has come to something else.
            if is_interruption(error):
                raise
        return Findings(
            None if made is None else made.operation, is_mask=finder.has_masks and made is None, notes=aside.notes
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
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_in(value))
