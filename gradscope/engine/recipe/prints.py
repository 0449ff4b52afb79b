"""What a value of the user's comes to, as a text that another value has only where it is the same: code by what it does and
by the globals that it names, data by its bits. So two loadings of one file can be compared. Nothing of the user's is called.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradscope.engine.aside.kinds import globals_of, is_understood, is_users_class, slots_in
from gradscope.engine.model.parameters import is_uninitialised
from gradscope.engine.surroundings.error_parts import qualified_name, safely
from gradscope.engine.surroundings.usercode import is_users_file

_PLAIN = (type(None), bool, int, float, complex, str, bytes, range, slice, torch.dtype, torch.device, torch.Size)
_LONGEST_PLAIN = 80
_MOST_ITEMS = 1_000
"""Of a longer container the first and the last ones count, and how many there are."""
_MOST_OBJECTS = 20_000
"""Of one value: beyond these only classes count."""
_DEEPEST = 60
_MOST_SUMMED_BYTES = 2**28
"""Of a larger tensor samples count."""
_SAMPLES = 65_536
_OF_PYTHON = frozenset(
    (
        *("__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__annotate__", "__annotate_func__"),
        *("__annotations_cache__", "__firstlineno__", "__static_attributes__", "__qualname__", "__orig_bases__"),
        *("__abstractmethods__", "_abc_impl", "__dataclass_fields__", "__dataclass_params__", "__match_args__"),
        "__slotnames__",
    )
)
"""What Python itself writes into a class."""
_IN_A_MODULE = frozenset(("training", "_parameters", "_buffers", "_modules", "_compiled_call_impl"))


def print_of(value: Any, but: Iterable[object] = ()) -> str:
    """Short plain values as they are written; everything else as "#" and a digest. What is in `but` only counts as that."""
    if type(value) in _PLAIN:
        text = repr(value)
        if len(text) <= _LONGEST_PLAIN:
            return text
    if type(value) in (tuple, list) and len(value) <= 8 and all(type(item) in _PLAIN for item in value):
        text = repr(value)
        if len(text) <= _LONGEST_PLAIN:
            return text
    writer = _Writer(but)
    writer.value(value, 0)
    return writer.told


def is_shown(text: str) -> bool:
    """Whether a print is the value itself, as it is written."""
    return not text.startswith("#")


def is_of_user(value: Any) -> bool:
    """Whether a function, or what is called like one, is of the user's code."""
    function = getattr(value, "__func__", value.func if isinstance(value, partial) else value)
    if type(function) is FunctionType:
        return is_users_file(function.__code__.co_filename)
    return is_users_class(type(function))


def attributes_of(module: nn.Module) -> dict[str, Any]:
    """What a module holds beside tensors, modules, hooks and its mode."""
    return {
        name: value
        for name, value in vars(module).items()
        if name not in _IN_A_MODULE and not (name.startswith("_") and "hook" in name)
    }


class _Writer:
    """Everything is preceded by what it is, and each text by its length."""

    def __init__(self, but: Iterable[object]) -> None:
        self._digest = hashlib.blake2b(digest_size=16)
        self._met: dict[int, int] = {}
        self._alive: list[object] = []
        self._globals: set[tuple[int, str]] = set()
        for value in but:
            self._note(value)

    @property
    def told(self) -> str:
        return f"#{self._digest.hexdigest()}"

    def value(self, value: Any, depth: int) -> None:
        kind = type(value)
        if kind in _PLAIN or value is Ellipsis:
            self._text(kind.__name__, repr(value))
            return
        if isinstance(value, Enum):
            self._text("enum", qualified_name(kind), value.name)
            return
        if id(value) in self._met:
            self._text("met", str(self._met[id(value)]))
            return
        self._note(value)
        if depth > _DEEPEST or len(self._met) > _MOST_OBJECTS:
            self._text("more", qualified_name(kind))
            return
        self._visit(value, kind, depth + 1)

    # ------------------------------------------------------------------------------------------ private

    def _note(self, value: object) -> None:
        self._met[id(value)] = len(self._met)
        # Nothing else gets its id.
        self._alive.append(value)

    def _text(self, *parts: str) -> None:
        for part in parts:
            content = part.encode("utf-8", "surrogatepass")
            self._digest.update(f"{len(content)}:".encode())
            self._digest.update(content)

    def _visit(self, value: Any, kind: type, depth: int) -> None:
        if isinstance(value, Tensor):
            self._tensor(value)
        elif isinstance(value, np.ndarray):
            self._text("array", value.dtype.str, str(value.shape), safely(lambda: _digest_of(value), ""))
        elif isinstance(value, np.generic):
            self._text("number", value.dtype.str, value.tobytes().hex())
        elif kind is FunctionType:
            self._function(value, depth)
        elif kind is MethodType:
            self._text("method")
            self.value(value.__func__, depth)
            self.value(value.__self__, depth)
        elif isinstance(value, partial):
            self._text("partial")
            for part in (value.func, value.args, value.keywords):
                self.value(part, depth)
        elif isinstance(value, type):
            self._class(value, depth)
        elif isinstance(value, (staticmethod, classmethod)):
            self._text(kind.__name__)
            self.value(value.__func__, depth)
        elif isinstance(value, property):
            self._text("property")
            for function in (value.fget, value.fset, value.fdel):
                self.value(function, depth)
        elif isinstance(value, (torch.jit.ScriptModule, torch.jit.ScriptFunction)):
            self._text(qualified_name(kind), safely(lambda: str(value.code), ""))
        elif isinstance(value, (ModuleType, BuiltinFunctionType)):
            self._text(kind.__name__, str(getattr(value, "__name__", "")))
        else:
            self._container(value, depth)
            self._object(value, kind, depth)

    def _container(self, value: Any, depth: int) -> None:
        if isinstance(value, dict):
            self._text("dict", str(dict.__len__(value)))
            for key, item in _some(list(dict.items(value))):
                self.value(key, depth)
                self.value(item, depth)
        elif isinstance(value, (list, tuple, deque)):
            # Past a __len__ and an __iter__ of the user's.
            plain: Any = next(one for one in (list, tuple, deque) if isinstance(value, one))
            self._text("items", str(plain.__len__(value)))
            for item in _some(list(plain.__iter__(value))):
                self.value(item, depth)
        elif isinstance(value, (set, frozenset)):
            plain_set: Any = set if isinstance(value, set) else frozenset
            items = sorted(print_of(item) for item in plain_set.__iter__(value))
            self._text("set", str(len(items)), *items)

    def _tensor(self, tensor: Tensor) -> None:
        is_lazy = is_uninitialised(tensor)
        self._text(
            "tensor", str(tensor.dtype), "lazy" if is_lazy else str(tuple(tensor.shape)), str(tensor.requires_grad)
        )
        if not (is_lazy or tensor.requires_grad or isinstance(tensor, nn.Parameter)):
            self._text(safely(lambda: _digest_of(_bytes_of(tensor)), ""))

    def _function(self, function: FunctionType, depth: int) -> None:
        code = function.__code__
        is_users = is_users_file(code.co_filename)
        self._text("function", function.__qualname__)
        if is_users:
            self._code(code, depth)
        else:
            self._text(str(function.__module__))
        for part in (function.__defaults__, function.__kwdefaults__, function.__dict__ if is_users else None):
            self.value(part, depth)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            self._text("variable", name)
            # Python's own `__class__`, and what is not there yet.
            if name != "__class__":
                self.value(safely(partial(getattr, cell, "cell_contents"), None), depth)
        if is_users:
            self._globals_of(function, depth)

    def _globals_of(self, function: FunctionType, depth: int) -> None:
        names, content = globals_of(function.__code__), function.__globals__
        for name in names:
            if name not in content:
                continue
            self._named(content, name, depth)
            self._inside(content[name], names, depth)

    def _inside(self, module: Any, names: tuple[str, ...], depth: int) -> None:
        """What is named of a module of the user's, and of those inside it (`package.module.function`)."""
        if not (isinstance(module, ModuleType) and is_users_file(getattr(module, "__file__", None) or "<none>")):
            return
        for name in names:
            if name in vars(module) and (id(vars(module)), name) not in self._globals:
                self._named(vars(module), name, depth)
                self._inside(vars(module)[name], names, depth)

    def _named(self, content: dict[str, Any], name: str, depth: int) -> None:
        """A global, once."""
        if (id(content), name) not in self._globals:
            self._globals.add((id(content), name))
            self._text("global", name)
            self.value(content[name], depth)

    def _code(self, code: CodeType, depth: int) -> None:
        numbers = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        self._text("code", str(numbers), code.co_code.hex(), code.co_exceptiontable.hex())
        for names in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars):
            self._text(str(names))
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._text("inside", constant.co_name)
                self._code(constant, depth)
            else:
                self.value(constant, depth)

    def _class(self, cls: type, depth: int) -> None:
        self._text("class")
        if not is_users_class(cls):
            self._text(qualified_name(cls))
            return
        self._text(cls.__qualname__)
        for base in cls.__bases__:
            self.value(base, depth)
        # A layer is not made again: what making it another way comes to is in its attributes and tensors.
        but = (*_OF_PYTHON, "__init__") if issubclass(cls, nn.Module) else _OF_PYTHON
        for name, member in vars(cls).items():
            if name not in but:
                self._text("member", name)
                self.value(member, depth)

    def _object(self, value: Any, kind: type, depth: int) -> None:
        is_users = is_users_class(kind)
        if is_users:
            self.value(kind, depth)
        else:
            self._text("object", qualified_name(kind))
        attributes = safely(lambda: object.__getattribute__(value, "__dict__"), None)
        if isinstance(value, nn.Module):
            self._module(value, depth)
        elif type(attributes) is dict:
            for name, item in attributes.items():
                # Of somebody else's object only what is plain tells what it is.
                if is_users or is_understood(kind) or type(item) in _PLAIN:
                    self._text("attribute", str(name))
                    self.value(item, depth)
        for name in slots_in(kind) if is_users else ():
            self._text("slot", name)
            self.value(safely(partial(object.__getattribute__, value, name), None), depth)

    def _module(self, module: nn.Module, depth: int) -> None:
        parts = [attributes_of(module), *(vars(module).get(name) for name in ("_parameters", "_buffers", "_modules"))]
        for content in parts:
            if not isinstance(content, Mapping):
                continue
            self._text("inside", str(len(content)))
            for name, item in content.items():
                self._text(str(name))
                self.value(item, depth)


def _some(items: list[Any]) -> list[Any]:
    half = _MOST_ITEMS // 2
    return items if len(items) <= _MOST_ITEMS else [*items[:half], *items[-half:]]


def _bytes_of(tensor: Tensor) -> np.ndarray[Any, Any]:
    flat = tensor.detach().reshape(-1)
    if flat.nbytes > _MOST_SUMMED_BYTES:
        flat = flat[:: max(1, flat.numel() // _SAMPLES)]
    return flat.cpu().contiguous().view(torch.uint8).numpy()


def _digest_of(array: np.ndarray[Any, Any]) -> str:
    """Of its bits: a sum of all of them, and samples."""
    if array.dtype.hasobject:
        return ""
    flat = array.reshape(-1)
    samples = np.ascontiguousarray(flat[:: max(1, flat.size // _SAMPLES)])
    digest = hashlib.blake2b(samples.view(np.uint8).data if samples.size else b"", digest_size=16).hexdigest()
    if isinstance(array, np.memmap) or not flat.flags.c_contiguous or flat.nbytes > _MOST_SUMMED_BYTES:
        return digest
    content = flat.view(np.uint8)
    whole = content.size - content.size % 8
    return f"{digest} {int(content[:whole].view(np.uint64).sum(dtype=np.uint64))} {content[whole:].tobytes().hex()}"
