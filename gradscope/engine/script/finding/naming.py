"""What a script itself calls a thing: the variable that it is bound to, or an attribute or item of one."""

from __future__ import annotations

import ast
import dis
import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FrameType, ModuleType
from typing import Any

from torch import Tensor, nn

from gradscope.engine.model.modules import walk
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


def variable_of(thing: Any, *, of_loops: bool = False) -> str:
    """The script's name for a thing; "" where it has none. `of_loops`: what a loop calls it now is as good as any."""
    return name_for(lambda value: value is thing, of_loops=of_loops)


def variable_named(name: str) -> Any:
    """What the script has now under a name that `variable_of` has given: a variable of the main module, or an item of one;
    else None."""
    name, _, item = name.partition("[")
    value: Any = vars(sys.modules["__main__"]).get(name)
    if not item:
        return value
    try:
        return value[ast.literal_eval(item[:-1])] if type(value) in (dict, list, tuple) else None
    except (KeyError, IndexError, TypeError, ValueError, SyntaxError):
        return None


def is_variable(thing: Any) -> bool:
    """Whether the script has a variable for a thing itself."""
    spaces = _spaces(users_frames())
    return any(value is thing and name not in _NO_NAMES for space in spaces for name, value in _entries(space.names))


def name_for(is_it: Same, *, of_loops: bool = False, in_modules: bool = False) -> str:
    """The outermost variable of the script's that is it; else an attribute or an item of one: `runner.model`, `nets['a']`.

    A variable that a loop goes through things with is a name for each of them: it comes last, unless `of_loops`.
    `in_modules`: it may be an attribute of any part of a module.
    """
    spaces = _spaces(users_frames())
    lasting = [space.names if of_loops else space.lasting() for space in spaces]
    found = _own(lasting, is_it)
    if not found and in_modules:
        found = next((name for space in lasting for name in _in_modules(space, is_it)), "")
    found = found or _deeper(lasting, is_it)
    if found:
        return found
    loops = [] if of_loops else [space.passing() for space in spaces]
    poor = (name for space in spaces for name, value in _entries(space.names) if name in _POOR_NAMES and is_it(value))
    return _own(loops, is_it) or _deeper(loops, is_it) or next(poor, "")


def _own(spaces: Sequence[Mapping[str, Any]], is_it: Same) -> str:
    for space in spaces:
        for name, value in _entries(space):
            if name not in _NO_NAMES and not name.startswith("__") and is_it(value):
                return name
    return ""


def _deeper(spaces: Sequence[Mapping[str, Any]], is_it: Same) -> str:
    for depth in range(1, _DEEPEST + 1):
        for space in spaces:
            for name, value in _entries(space):
                found = "" if name.startswith("__") else _inside(name, value, is_it, depth)
                if found:
                    return found
    return ""


def _in_modules(space: Mapping[str, Any], is_it: Same) -> Iterator[str]:
    """`net.layers.0.opt`"""
    for name, value in _entries(space):
        for path, part in walk(value) if isinstance(value, nn.Module) and name not in _NO_NAMES else ():
            for key, item in list(_attributes(part).items())[:_MOST_ATTRIBUTES]:
                if isinstance(key, str) and not key.startswith("_") and is_it(item):
                    yield ".".join(filter(None, (name, path, key)))


def name_in_library(thing: Any) -> str:
    """The name that a library has for it, from the inside out; torch's own are none."""
    for frame in calling_frames():
        # By its module: any environment's folder may be called torch.
        module = str(frame.f_globals.get("__name__", ""))
        if is_users_file(frame.f_code.co_filename) or module.partition(".")[0] == "torch":
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


@dataclass(frozen=True)
class _Space:
    """The variables of the script, or of one of its functions that are running."""

    names: Mapping[str, Any]
    of_loops: frozenset[str]

    def lasting(self) -> Mapping[str, Any]:
        return {name: value for name, value in list(self.names.items()) if name not in self.of_loops}

    def passing(self) -> Mapping[str, Any]:
        return {name: self.names[name] for name in self.of_loops if name in self.names}


def _spaces(own: Sequence[FrameType]) -> list[_Space]:
    main = vars(sys.modules["__main__"])
    inner, of_loops = [], frozenset[str]()
    for frame in reversed(own):
        if frame.f_globals is main and _is_main(frame):
            of_loops |= _names_of_loops(frame.f_code)
        else:
            inner.append(_Space(locals_of(frame), _names_of_loops(frame.f_code)))
    return [_Space(main, of_loops), *inner]


@functools.lru_cache(maxsize=256)
def _names_of_loops(code: CodeType) -> frozenset[str]:
    """The variables that its `for` loops give another value each time."""
    found: set[str] = set()
    wanted = 0
    for instruction in dis.get_instructions(code):
        kind, value = instruction.opname, instruction.argval
        if kind == "FOR_ITER":
            wanted = 1
        elif wanted and kind == "UNPACK_SEQUENCE":
            wanted += int(value) - 1
        elif wanted and kind.startswith("STORE_"):
            # Two at once, from Python 3.13 on: two stores, or a store and a load.
            names = value if isinstance(value, tuple) else (value,)
            stored = names[: kind.count("STORE")]
            found.update(name for name in stored if isinstance(name, str) and kind != "STORE_ATTR")
            wanted = max(0, wanted - len(stored))
        elif not kind.startswith(("LOAD_", "NOP", "CACHE", "EXTENDED_ARG")):
            wanted = 0
    return frozenset(found)


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
