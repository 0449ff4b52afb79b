"""Which names may follow what has been typed. Nothing of the user's is called: neither a property nor `__getattr__`."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from inspect import getattr_static
from types import GetSetDescriptorType, MappingProxyType, MemberDescriptorType, ModuleType
from typing import Any

from torch import Tensor, nn

from gradscope.engine.book.book import Book
from gradscope.engine.surroundings.error_parts import safely
from gradscope.protocol.messages.evaluate import MAX_COMPLETIONS

_STEP = r"""(?:\.[A-Za-z_]\w*|\[\s*(?:-?\d+|'[^'\\\n]*'|"[^"\\\n]*")\s*\])"""
_CHAIN = rf"[A-Za-z_]\w*(?:{_STEP})*"
_LAYER = re.compile(r"""\b(?:grad|activation)\(\s*(['"])([^'"\n]*)$""")
_KEY = re.compile(rf"""({_CHAIN})\[\s*(['"])([^'"\n]*)$""")
_ATTRIBUTE = re.compile(rf"({_CHAIN})\.(\w*)$")
_IMPORTED = re.compile(r"^\s*(?:import|from)\s+([\w.]*)$")
_NAME = re.compile(r"(?<![\w.\])'\"])([A-Za-z_]\w*)$")
_MISSING = object()
_LONGEST_KEY = 200


def completed(text: str, cursor: int, names: Mapping[str, Any], book: Book) -> tuple[int, list[str]]:
    """(where what is completed begins, what may stand from there to the cursor), in their order."""
    cursor = max(0, min(cursor, len(text)))
    before = text[:cursor]
    line = before.rpartition("\n")[2]
    if found := _LAYER.search(before):
        wanted = [*book.observer.modules(), *book.observer.tensors()]
        return cursor - len(found[2]), _fitting(found[2], (name for name in wanted if name))
    if found := _KEY.search(before):
        holder = _resolved(found[1], names)
        return cursor - len(found[3]), _fitting(found[3], _keys_of(holder))
    if found := _IMPORTED.search(line):
        known = {name.partition(".")[0] for name in sys.modules} | set(sys.stdlib_module_names)
        return cursor - len(found[1]), _fitting(found[1], sorted(known))
    if found := _ATTRIBUTE.search(before):
        value = _resolved(found[1], names)
        return cursor - len(found[2]), _fitting(found[2], () if value is _MISSING else _attributes_of(value))
    if found := _NAME.search(before):
        known = {*names, *dir(builtins), *keyword.kwlist}
        return cursor - len(found[1]), _fitting(found[1], sorted(known))
    return cursor, []


def _fitting(beginning: str, names: Iterable[str]) -> list[str]:
    """Those that begin so; what is private only where it is asked for."""
    found = dict.fromkeys(
        name for name in names if name.startswith(beginning) and (beginning.startswith("_") or not name.startswith("_"))
    )
    return list(found)[:MAX_COMPLETIONS]


def _resolved(chain: str, names: Mapping[str, Any]) -> Any:
    """What a chain of attributes and items leads to, as far as it can be followed without calling anything."""
    tree = safely(lambda: ast.parse(chain, mode="eval").body, None)
    return _MISSING if tree is None else safely(lambda: _followed(tree, names), _MISSING)


def _followed(tree: ast.expr, names: Mapping[str, Any]) -> Any:
    if isinstance(tree, ast.Name):
        return names.get(tree.id, getattr(builtins, tree.id, _MISSING))
    if isinstance(tree, ast.Attribute):
        owner = _followed(tree.value, names)
        return _MISSING if owner is _MISSING else _attribute(owner, tree.attr)
    if isinstance(tree, ast.Subscript):
        owner = _followed(tree.value, names)
        return _MISSING if owner is _MISSING else _item(owner, ast.literal_eval(tree.slice))
    return _MISSING


def _attribute(owner: Any, name: str) -> Any:
    if isinstance(owner, nn.Module):
        for group in ("_parameters", "_buffers", "_modules"):
            inside = _own(owner).get(group)
            if isinstance(inside, dict) and name in inside:
                return inside[name]
    found = getattr_static(owner, name, _MISSING)
    if isinstance(found, (GetSetDescriptorType, MemberDescriptorType)) and not isinstance(owner, type):
        # The interpreter's own, or torch's: no code of anybody's runs.
        return (
            found.__get__(owner) if type(owner) in (Tensor, nn.Parameter) or not isinstance(owner, Tensor) else _MISSING
        )
    if isinstance(found, (property, classmethod, staticmethod)) or hasattr(type(found), "__set__"):
        return _MISSING
    return found


def _item(owner: Any, key: object) -> Any:
    if type(owner) in (list, tuple) and type(key) is int and -len(owner) <= key < len(owner):
        return owner[key]
    if type(owner) in (dict, OrderedDict, defaultdict):
        return owner.get(key, _MISSING)
    if isinstance(owner, (nn.Sequential, nn.ModuleList)) and type(key) is int:
        return list(_own(owner).get("_modules", {}).values())[key]
    if isinstance(owner, nn.ModuleDict) and type(key) is str:
        return _own(owner).get("_modules", {}).get(key, _MISSING)
    return _MISSING


def _keys_of(owner: Any) -> list[str]:
    if isinstance(owner, nn.ModuleDict):
        owner = _own(owner).get("_modules", {})
    if type(owner) not in (dict, OrderedDict, defaultdict):
        return []
    return [key for key in list(owner)[: 2 * MAX_COMPLETIONS] if type(key) is str and len(key) <= _LONGEST_KEY]


def _attributes_of(value: Any) -> list[str]:
    """What an object holds first, then what its classes do."""
    own = _own(value)
    found = list(own)
    if isinstance(value, nn.Module):
        inside = [own.get(group) for group in ("_modules", "_parameters", "_buffers")]
        found = [name for names in inside if isinstance(names, dict) for name in names] + found
    if isinstance(value, ModuleType):
        found = sorted(found)
    classes = type.__dict__["__mro__"].__get__(value if isinstance(value, type) else type(value))
    for cls in classes:
        found += sorted(type.__dict__["__dict__"].__get__(cls))
    return [name for name in found if type(name) is str and name.isidentifier()]


def _own(value: Any) -> Mapping[str, Any]:
    found = safely(lambda: object.__getattribute__(value, "__dict__"), None)
    return found if type(found) in (dict, OrderedDict, MappingProxyType) else {}
