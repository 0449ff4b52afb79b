"""What a script itself calls a thing: the variable that it is bound to, or an attribute or item of one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType, ModuleType
from typing import Any

from torch import Tensor, nn

from gradscope.engine.surroundings.frames import calling_frames, locals_of, users_frames
from gradscope.engine.surroundings.usercode import is_users_file

Same = Callable[[Any], bool]
_POOR_NAMES = frozenset({"module", "mod", "m"})
"""Of loops over modules: taken where there is no other."""
_NO_NAMES = _POOR_NAMES | {"self", "cls", "_"}
"""Under which a method knows it, and nobody else."""
_MOST_ITEMS, _MOST_ATTRIBUTES = 64, 256
_DEEPEST = 2
"""`trainer.parts.model`"""


def variable_of(thing: Any) -> str:
    """The script's name for a thing; "" where it has none."""
    return name_for(lambda value: value is thing)


def is_variable(thing: Any) -> bool:
    """Whether the script has a variable for a thing itself."""
    spaces = _spaces(users_frames())
    return any(value is thing and name not in _NO_NAMES for space in spaces for name, value in _entries(space))


def name_for(is_it: Same) -> str:
    """The outermost variable of the script's that is it; else an attribute or an item of one: `runner.model`, `nets['a']`."""
    spaces = _spaces(users_frames())
    for space in spaces:
        for name, value in _entries(space):
            if name not in _NO_NAMES and not name.startswith("__") and is_it(value):
                return name
    for depth in range(1, _DEEPEST + 1):
        for space in spaces:
            for name, value in _entries(space):
                found = "" if name.startswith("__") else _inside(name, value, is_it, depth)
                if found:
                    return found
    poor = (name for space in spaces for name, value in _entries(space) if name in _POOR_NAMES and is_it(value))
    return next(poor, "")


def name_in_library(thing: Any) -> str:
    """The name that a library has for it, from the inside out; torch's own are none."""
    for frame in calling_frames():
        if is_users_file(frame.f_code.co_filename) or "/torch/" in frame.f_code.co_filename.replace("\\", "/"):
            continue
        found = next((name for name, value in _entries(locals_of(frame)) if value is thing), "")
        if found:
            return found
    return ""


def owners_in_frames(wanted: type) -> Iterator[Any]:
    """Whose methods are running, as far as they are of that class: the outermost first."""
    for frame in reversed(list(calling_frames())):
        names = frame.f_code.co_varnames[: frame.f_code.co_argcount]
        if not names or frame.f_code.co_name == "<module>":
            continue
        owner = locals_of(frame).get(names[0])
        if isinstance(owner, wanted):
            yield owner


def _spaces(own: Sequence[FrameType]) -> list[Mapping[str, Any]]:
    main = vars(sys.modules["__main__"])
    inner = [locals_of(frame) for frame in reversed(own) if frame.f_globals is not main or not _is_main(frame)]
    return [main, *inner]


def _is_main(frame: FrameType) -> bool:
    return frame.f_code.co_name == "<module>"


def _entries(space: Mapping[str, Any]) -> list[tuple[str, Any]]:
    # Another thread may be adding to it.
    return [(name, value) for name, value in list(space.items()) if isinstance(name, str)]


def _inside(name: str, value: Any, is_it: Same, depth: int) -> str:
    """Right in there, or `depth` levels down."""
    parts = _parts(name, value)
    if depth == 1:
        return next((inner for inner, item in parts if is_it(item)), "")
    found = (_inside(inner, item, is_it, depth - 1) for inner, item in parts)
    return next((name for name in found if name), "")


def _parts(name: str, value: Any) -> list[tuple[str, Any]]:
    kind = type(value)
    if kind is dict:
        items = list(value.items())[:_MOST_ITEMS]
        return [(f"{name}[{key!r}]" if isinstance(key, (str, int)) else f"{name}[...]", item) for key, item in items]
    if kind in (list, tuple):
        return [(f"{name}[{number}]", item) for number, item in enumerate(value[:_MOST_ITEMS])]
    if isinstance(value, (ModuleType, type, Tensor)) or kind.__module__ == "builtins":
        return []
    attributes = list(_attributes(value).items())[:_MOST_ATTRIBUTES]
    prefix = "" if name in _NO_NAMES else f"{name}."
    # A module has what it holds in dicts of its own, where it is known by other names.
    hidden = "_" if isinstance(value, nn.Module) else "__"
    return [(f"{prefix}{key}", item) for key, item in attributes if isinstance(key, str) and not key.startswith(hidden)]


def _attributes(value: Any) -> dict[Any, Any]:
    """Its own, without asking the user's code."""
    try:
        found = object.__getattribute__(value, "__dict__")
    except Exception:
        return {}
    return found if type(found) is dict else {}
