"""Whose classes and functions they are, and where they keep what can change."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterator
from functools import lru_cache, partial
from multiprocessing.process import BaseProcess
from types import CodeType, FunctionType, SimpleNamespace

from torch import nn

from gradscope.engine.surroundings.error_parts import module_name
from gradscope.engine.surroundings.usercode import is_users_file

_UNDERSTOOD = (
    *("torch.nn.", "torch.optim.", "torch.utils.data.", "torch.amp.", "torch.distributions."),
    *("collections.", "weakref.", "_weakrefset."),
)
"""Where classes are whose attributes are put back although they are not the user's."""


def functions_of(cls: type) -> Iterator[FunctionType]:
    """What is written in a class, properties and static methods too."""
    for value in vars(cls).values():
        for function in (value, getattr(value, "__func__", None), getattr(value, "fget", None)):
            if type(function) is FunctionType:
                yield function


@lru_cache(maxsize=4096)
def globals_of(code: CodeType) -> tuple[str, ...]:
    """Every global that a function may read or write, and more: attributes have their names in the same list."""
    found = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= dict.fromkeys(globals_of(constant))
    return tuple(found)


def is_users_class(cls: type) -> bool:
    """Written in a file of the user's."""
    module = module_name(cls)
    if module in ("builtins", "__main__"):
        return module == "__main__"
    if module.partition(".")[0] in ("torch", "numpy", "gradscope"):
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return type(file) is str and is_users_file(file)


def is_understood(cls: type) -> bool:
    """A class of somebody else's whose attributes are all there is of its objects."""
    if issubclass(cls, (nn.Module, SimpleNamespace, argparse.Namespace, FunctionType, partial)):
        return True
    return f"{module_name(cls)}.".startswith(_UNDERSTOOD)


def slots_in(cls: type) -> list[str]:
    """The attributes that objects of a class of the user's have outside their __dict__."""
    found: list[str] = []
    for base in cls.__mro__:
        slots = vars(base).get("__slots__", ()) if is_users_class(base) else ()
        names = [slots] if isinstance(slots, str) else list(slots)
        found += [_written_out(base, name) for name in names if name not in ("__dict__", "__weakref__")]
    return found


def _written_out(cls: type, name: str) -> str:
    """The name under which a class really has a private one."""
    is_private = name.startswith("__") and not name.endswith("__")
    return f"_{cls.__name__.lstrip('_')}{name}" if is_private else name


def is_pythons(cls: type) -> bool:
    """From the standard library."""
    return module_name(cls).partition(".")[0] in sys.stdlib_module_names


def is_running(cls: type) -> bool:
    """A thread or a process: what its attributes say is so, whatever they said before."""
    return issubclass(cls, (threading.Thread, BaseProcess))
