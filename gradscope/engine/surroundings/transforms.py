"""The transforms of torch.func (grad, vmap) wrap the tensors that they compute with: what is in the wrapping, and how to look
at it as if no transform were running.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

_FUNCTORCH: Any = torch._C._functorch
_running: Callable[[], Any] = getattr(_FUNCTORCH, "peek_interpreter_stack", lambda: None)
_all_running: Callable[[], list[Any] | None] = getattr(_FUNCTORCH, "get_interpreter_stack", lambda: None)
is_wrapped: Callable[[Tensor], bool] = _FUNCTORCH.is_functorch_wrapped_tensor
_is_of_grad: Callable[[Tensor], bool] = _FUNCTORCH.is_gradtrackingtensor


def are_running() -> bool:
    return _running() is not None


def grads_running() -> int:
    """How many of `grad`, `grad_and_value`, `vjp` and the like run inside each other; 0 where another transform (`vmap`) runs
    among them, so that what they compute are no whole tensors of the script's."""
    stack = _all_running() or ()
    return len(stack) if all(one.key() == _FUNCTORCH.TransformType.Grad for one in stack) else 0


def is_by_sample() -> bool:
    """Whether `vmap` runs."""
    return any(one.key() == _FUNCTORCH.TransformType.Vmap for one in _all_running() or ())


def unwrapped(tensor: Tensor) -> Tensor:
    """What `grad` has wrapped, the very tensor of the script's; itself where nothing has, and what `vmap` has wrapped."""
    while is_wrapped(tensor) and _is_of_grad(tensor):
        tensor = _FUNCTORCH.get_unwrapped(tensor)
    return tensor


def innermost(tensor: Tensor) -> Tensor:
    """The same, and of what `vmap` has wrapped the tensor of all samples."""
    while is_wrapped(tensor):
        tensor = _FUNCTORCH.get_unwrapped(tensor)
    return tensor


@contextlib.contextmanager
def outside() -> Iterator[None]:
    """Inside, no transform is running: what is computed there is computed as ever."""
    stack: list[Any] = []
    try:
        while _running() is not None:
            stack.append(_FUNCTORCH.pop_dynamic_layer_stack())
        yield
    finally:
        while stack:
            _FUNCTORCH.push_dynamic_layer_stack(stack.pop())
