"""Hooks on modules: they see every output as it is made, and its gradient when it arrives, and change nothing.

A forward pre-hook and a forward hook on each module; on each output tensor a tensor hook, registered at once, so that it
belongs to that value also when the model changes the tensor in place later. Never `register_full_backward_hook`, which
raises on in-place layers; never `retain_grad`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle


class LayerListener(Protocol):
    """What the hooks tell. None of the methods may change a tensor or draw a random number."""

    def layer_entered(self, name: str) -> None: ...

    def layer_left(self, name: str, output: object) -> None: ...


class _Tap:
    """One hook of one module.

    A copy of the model (an EMA by deepcopy) copies its hooks: a tap copies as itself and ignores strangers. When it is
    pickled with a model, it leaves a harmless `_nothing` behind.
    """

    __slots__ = ("_listener", "_module", "_name")

    def __init__(self, name: str, module: nn.Module, listener: LayerListener) -> None:
        self._name = name
        self._module = weakref.ref(module)
        self._listener = weakref.ref(listener)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Tap:
        return self

    def __copy__(self) -> _Tap:
        return self

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _make_nothing, ()

    def _listener_for(self, module: nn.Module) -> LayerListener | None:
        return self._listener() if self._module() is module else None


class _EnterTap(_Tap):
    __slots__ = ()

    def __call__(self, module: nn.Module, args: Any) -> None:
        listener = self._listener_for(module)
        if listener is not None:
            listener.layer_entered(self._name)


class _LeaveTap(_Tap):
    __slots__ = ()

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        listener = self._listener_for(module)
        if listener is not None:
            listener.layer_left(self._name, output)


def _nothing(*_: Any) -> None:
    return None


def _make_nothing() -> Callable[..., None]:
    return _nothing


class ModuleHooks:
    """The hooks on those modules of one model that are wanted; removes exactly its own."""

    def __init__(self, model: nn.Module, listener: LayerListener, wants: Callable[[str], bool]) -> None:
        self._handles: list[RemovableHandle] = []
        for name, module in model.named_modules():
            if not wants(name):
                continue
            # Prepended, the enter tap sees a layer before the user's own pre-hooks can fail in it.
            self._handles.append(module.register_forward_pre_hook(_EnterTap(name, module, listener), prepend=True))
            self._handles.append(module.register_forward_hook(_LeaveTap(name, module, listener)))

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def inside_backward() -> bool:
    """True while autograd runs a backward on this thread (activation checkpointing recomputes forwards there)."""
    return torch._C._current_graph_task_id() != -1
