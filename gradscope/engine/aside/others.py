"""What other threads of the user's use while code runs beside the training: a thread that loads ahead fills a list meanwhile.

Who has changed an object cannot be known. So what the running code of another thread names is left to that thread: its
variables, globals and attributes, and those of the functions that it names. What it reaches in other ways (an item deep in
a container, a module that it calls, a thread that has not begun) is not seen.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterable
from functools import partial
from types import CellType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

from gradscope.engine.aside.kinds import globals_of, is_users_class
from gradscope.engine.surroundings.error_parts import safely
from gradscope.engine.surroundings.usercode import is_users_file

_MOST_OBJECTS = 10_000
_MOST_ITEMS = 100
_CONTAINERS = (dict, list, set, deque, tuple)
_NOBODYS = (type(None), bool, int, float, complex, str, bytes, type, ModuleType)


class Others:
    """`look` adds what the threads use now. Objects are held, so that nothing else gets their ids."""

    def __init__(self) -> None:
        self._used: dict[int, object] = {}
        self._names: set[str] = set()
        """All that their code names."""
        self._owners: dict[int, tuple[dict[str, Any], type | None]] = {}
        """Attributes of objects, and globals, by the ids of their dicts; the class of the object."""
        self._codes: set[CodeType] = set()

    def look(self) -> None:
        own = threading.get_ident()
        frames = [frame for thread, frame in sys._current_frames().items() if thread != own]
        waiting: list[Any] = []
        for inner in frames:
            frame: FrameType | None = inner
            while frame is not None:
                if is_users_file(frame.f_code.co_filename):
                    self._read(frame.f_code, frame.f_globals)
                    waiting += frame.f_locals.values()
                frame = frame.f_back
        seen = -1
        while waiting or seen != len(self._used):
            seen = len(self._used)
            self._follow(waiting)
            # More names are known now.
            waiting = [value for owner in [*self._owners.values()] for value in self._named_in(*owner)]
            waiting = [value for value in waiting if id(value) not in self._used and not isinstance(value, _NOBODYS)]

    def uses(self, value: object) -> bool:
        return id(value) in self._used

    def has(self, number: int) -> bool:
        """The same by its id."""
        return number in self._used

    def names_in(self, owner: dict[Any, Any]) -> set[str]:
        """The attributes, or globals, that are kept there and that they may set."""
        return self._names if id(owner) in self._owners else set()

    def _follow(self, waiting: list[Any]) -> None:
        while waiting and len(self._used) < _MOST_OBJECTS:
            value = waiting.pop()
            if id(value) in self._used or isinstance(value, _NOBODYS):
                continue
            self._used[id(value)] = value
            if isinstance(value, MethodType):
                waiting += [value.__self__, value.__func__]
            elif isinstance(value, FunctionType):
                if is_users_file(value.__code__.co_filename):
                    self._read(value.__code__, value.__globals__)
                    waiting += [_held_by(cell) for cell in value.__closure__ or ()]
            elif isinstance(value, _CONTAINERS):
                waiting += _items_of(value)
            elif is_users_class(type(value)):
                attributes = safely(partial(object.__getattribute__, value, "__dict__"), None)
                if type(attributes) is dict:
                    self._owners[id(attributes)] = attributes, type(value)

    def _read(self, code: CodeType, variables: dict[str, Any]) -> None:
        if code not in self._codes:
            self._codes.add(code)
            self._names |= {*globals_of(code)}
            self._owners.setdefault(id(variables), (variables, None))

    def _named_in(self, owner: dict[str, Any], cls: type | None) -> Iterable[Any]:
        for name in self._names:
            if name in owner:
                yield owner[name]
            for base in cls.__mro__ if cls is not None else ():
                if name in vars(base) and is_users_class(base):
                    yield vars(base)[name]


def _held_by(cell: CellType) -> Any:
    return safely(lambda: cell.cell_contents, None)


def _items_of(container: Any) -> list[Any]:
    """A thread that goes on with it meanwhile may make this fail."""
    if len(container) > _MOST_ITEMS:
        return []
    found: list[Any] = safely(lambda: list(container.values() if isinstance(container, dict) else container), [])
    return found
