"""torch.compile under the debugger: what was compiled runs eagerly while a session is open, and is as before after it.

Compiled code has no layers to look into: hooks in it are traced, skipped or break it in pieces. `torch.compiler.set_stance`
would turn off too much: torch.cond and its like are compiled in every model, and have no gradient otherwise.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any, TypeVar

from torch import nn

from gradscope.engine.model.modules import is_compiled_wrapper, own_name, walk

_ORIGINAL = "_torchdynamo_orig_callable"
_Function = TypeVar("_Function")


def eager(function: _Function) -> _Function:
    """The function that torch.compile was given, if it was; modules stay as they are (see `EagerModules`)."""
    if isinstance(function, nn.Module):
        return function
    return getattr(function, _ORIGINAL, function)


def is_compiled(module: nn.Module) -> bool:
    """Compiled by `torch.compile(module)`, `module.compile()` or `module.forward = torch.compile(module.forward)`."""
    return (
        is_compiled_wrapper(module)
        or module._compiled_call_impl is not None
        or hasattr(vars(module).get("forward"), _ORIGINAL)
    )


class EagerModules:
    """Modules that run eagerly although they are compiled, until `restore` (or until this object dies)."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        """Of those modules."""
        self._undo: list[tuple[nn.Module, str, Any, Any]] = []
        weakref.finalize(self, _put_back, self._undo)

    def take(self, model: nn.Module | None) -> None:
        """Let every compiled module of the model run eagerly."""
        for name, module in walk(model) if model is not None else ():
            if is_compiled(module):
                self.names[own_name(name)] = None
                self._take_one(module)

    def _take_one(self, module: nn.Module) -> None:
        forward = vars(module).get("forward")
        if is_compiled_wrapper(module):
            inner = module._modules["_orig_mod"]
            if not (isinstance(forward, MethodType) and forward.__self__ is inner):
                self._set(module, "forward", MethodType(type(inner).__call__, inner))
        elif hasattr(forward, _ORIGINAL):
            original = getattr(forward, _ORIGINAL)
            # Of a bound method torch keeps the function only.
            is_unbound = original is getattr(type(module), "forward", None)
            self._set(module, "forward", MethodType(original, module) if is_unbound else original)
        if module._compiled_call_impl is not None:
            self._set(module, "_compiled_call_impl", None)

    def _set(self, module: nn.Module, name: str, value: Any) -> None:
        # In the __dict__: the wrapper hands other assignments on to what it wraps.
        self._undo.append((module, name, vars(module)[name], value))
        vars(module)[name] = value

    def restore(self) -> None:
        """Everything is compiled again, by the same objects as before."""
        _put_back(self._undo)
        self.names.clear()


def compiled_functions(functions: Iterable[tuple[str, Callable[..., Any] | None]]) -> list[str]:
    """The names of those functions that torch.compile has compiled."""
    return [name for name, function in functions if eager(function) is not function]


def _put_back(undo: list[tuple[nn.Module, str, Any, Any]]) -> None:
    while undo:
        module, name, before, ours = undo.pop()
        # The user may have compiled it anew.
        if vars(module).get(name, ours) is ours:
            vars(module)[name] = before
