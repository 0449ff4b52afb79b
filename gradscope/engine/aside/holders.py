"""What can change in the user's objects: what they hold. Each kind remembers how it was, tells whether it has changed, and
puts it back.

Everything is compared by identity: what compares equal may still be another object, and asking runs the user's code.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from types import CellType
from typing import Any

from gradscope.engine.aside.others import Others
from gradscope.engine.surroundings.error_parts import safely

MISSING = object()
"""There is nothing under that name."""


class Holder(ABC):
    """Something of the user's that can change. Made when it is as it should be."""

    can_be_put_back = True
    content: object = None
    """What it holds, where another thread may use the same."""

    items: object = None
    """Where the extension's `unmoved` can see what it holds: a dict, a list, or (globals, MISSING)."""

    is_left = False
    """It has changed, and is left to other threads, which use it."""

    def leave_to(self, others: Others) -> bool:
        """Of what has changed, leave to other threads what they use. Whether there is such."""
        self.is_left = self.content is not None and others.uses(self.content)
        return self.is_left

    @abstractmethod
    def differs(self) -> bool:
        """Whether it has changed since."""

    @abstractmethod
    def put_back(self) -> None:
        """Make it as it was."""

    @abstractmethod
    def taken(self) -> Any:
        """How it is now, for `give`; from here on it differs where it is not so. The same object as the last time where
        nothing has changed since."""

    @abstractmethod
    def give(self, taken: Any) -> None:
        """Make it as it was when that was taken."""


class ItemsHolder(Holder):
    """Something that holds other objects: `keys` and `values` are what it held, in its order. No keys where a value has a
    place only."""

    _pair: tuple[list[Any], list[Any]] | None = None
    """What was taken the last time."""

    def __init__(self) -> None:
        self.keys, self.values = self.read()

    @abstractmethod
    def read(self) -> tuple[list[Any], list[Any]]:
        """(keys, values) of what it holds now."""

    @abstractmethod
    def write(self, values: list[Any]) -> None:
        """Hold these under the keys of before, and nothing else."""

    def lend(self, stand_ins: Mapping[int, Any]) -> None:
        """Until it is put back, hold others in the place of the objects with these ids."""
        if not stand_ins.keys().isdisjoint(map(id, self.values)):
            self.write([stand_ins.get(id(value), value) for value in self.values])

    def differs(self) -> bool:
        keys, values = self.read()
        if len(values) != len(self.values):
            return True
        return not (all(map(operator.is_, values, self.values)) and all(map(operator.is_, keys, self.keys)))

    def put_back(self) -> None:
        self.write(self.values)

    def taken(self) -> tuple[list[Any], list[Any]]:
        if self._pair is None or self.differs():
            self.keys, self.values = self._pair = self.read()
        return self._pair

    def give(self, taken: tuple[list[Any], list[Any]]) -> None:
        self.keys, self.values = self._pair = taken
        if self.differs():
            self.put_back()


class DictHolder(ItemsHolder):
    """A dict, and so the attributes of an object."""

    def __init__(self, content: dict[Any, Any]) -> None:
        # The methods of the class itself: a subclass of the user's may count its calls.
        self._content, self._kind = content, OrderedDict if isinstance(content, OrderedDict) else dict
        self.content = content
        # An ordered one has an order of its own.
        self.items = content if self._kind is dict else None
        super().__init__()

    def leave_to(self, others: Others) -> bool:
        """Attributes one by one: what they are now is what they are put back to."""
        names = others.names_in(self._content)
        if not names:
            return super().leave_to(others)
        now, before = dict(zip(*self.read(), strict=True)), dict(zip(self.keys, self.values, strict=True))
        moved = [key for key in names if now.get(key, MISSING) is not before.get(key, MISSING)]
        for key in moved:
            before.pop(key, None)
            if key in now:
                before[key] = now[key]
        self.keys, self.values = [*before], [*before.values()]
        return super().leave_to(others) or bool(moved)

    def read(self) -> tuple[list[Any], list[Any]]:
        return list(self._kind.keys(self._content)), list(self._kind.values(self._content))

    def differs(self) -> bool:
        content, kind = self._content, self._kind
        if kind.__len__(content) != len(self.values):
            return True
        is_same = operator.is_
        return not (
            all(map(is_same, kind.values(content), self.values)) and all(map(is_same, kind.keys(content), self.keys))
        )

    def taken(self) -> tuple[list[Any], list[Any]]:
        # As in `differs`, without calls: this is asked of hundreds of them in every step.
        content, kind, pair, is_same = self._content, self._kind, self._pair, operator.is_
        if (
            pair is not None
            and kind.__len__(content) == len(pair[1])
            and all(map(is_same, kind.values(content), pair[1]))
            and all(map(is_same, kind.keys(content), pair[0]))
        ):
            return pair
        self.keys, self.values = self._pair = self.read()
        return self._pair

    def write(self, values: list[Any]) -> None:
        keys, now = self.read()
        if len(keys) == len(self.keys) and all(map(operator.is_, keys, self.keys)):
            # Never empty, not for a moment: another thread may look something up in it.
            for key, value, old in zip(keys, values, now, strict=True):
                if value is not old:
                    self._kind.__setitem__(self._content, key, value)
            return
        self._kind.clear(self._content)
        for key, value in zip(self.keys, values, strict=True):
            self._kind.__setitem__(self._content, key, value)


class EmptyHolder(Holder):
    """Many dicts with nothing in them; there may be more of them later."""

    def __init__(self, contents: list[dict[Any, Any]]) -> None:
        self._contents = contents

    def differs(self) -> bool:
        return any(self._contents)

    def put_back(self) -> None:
        for content in filter(None, self._contents):
            content.clear()

    def taken(self) -> list[tuple[dict[Any, Any], dict[Any, Any]]] | None:
        return [(content, dict(content)) for content in self._contents if content] or None

    def give(self, taken: list[tuple[dict[Any, Any], dict[Any, Any]]] | None) -> None:
        self.put_back()
        for content, before in taken or ():
            content.update(before)


class BareHolder(EmptyHolder):
    """What comes into these is followed by who goes back."""


class ListHolder(ItemsHolder):
    def __init__(self, content: list[Any]) -> None:
        self._content = self.content = self.items = content
        super().__init__()

    def read(self) -> tuple[list[Any], list[Any]]:
        return [], list(list.__iter__(self._content))

    def taken(self) -> tuple[list[Any], list[Any]]:
        # As in `differs`, without calls.
        pair, content = self._pair, self._content
        if (
            pair is not None
            and list.__len__(content) == len(pair[1])
            and all(map(operator.is_, list.__iter__(content), pair[1]))
        ):
            return pair
        return super().taken()

    def write(self, values: list[Any]) -> None:
        list.__setitem__(self._content, slice(None), values)


class DequeHolder(ItemsHolder):
    def __init__(self, content: deque[Any]) -> None:
        self._content = self.content = content
        super().__init__()

    def read(self) -> tuple[list[Any], list[Any]]:
        return [], list(deque.__iter__(self._content))

    def write(self, values: list[Any]) -> None:
        deque.clear(self._content)
        deque.extend(self._content, values)


class SetHolder(ItemsHolder):
    """Its members in the order of their addresses, since they have no places."""

    def __init__(self, content: set[Any]) -> None:
        self._content = self.content = content
        super().__init__()

    def read(self) -> tuple[list[Any], list[Any]]:
        return [], sorted(set.__iter__(self._content), key=id)

    def write(self, values: list[Any]) -> None:
        set.clear(self._content)
        set.update(self._content, values)


class CellHolder(ItemsHolder):
    """A variable that a function has from the function around it."""

    def __init__(self, cell: CellType) -> None:
        self._cell = cell
        super().__init__()

    def read(self) -> tuple[list[Any], list[Any]]:
        try:
            return [], [self._cell.cell_contents]
        except ValueError:
            return [], []

    def write(self, values: list[Any]) -> None:
        if values:
            self._cell.cell_contents = values[0]
        elif self.read()[1]:
            del self._cell.cell_contents


class NamesHolder(ItemsHolder):
    """Some of the names that a module, a class or an object has; others in it are nobody's business."""

    owner: dict[str, Any] | None = None
    """The globals of a module."""

    def __init__(
        self,
        names: Iterable[str],
        get: Callable[[str], Any],
        put: Callable[[str, Any], None],
        drop: Callable[[str], None],
    ) -> None:
        self._names, self._get, self._put, self._drop = tuple(names), get, put, drop
        super().__init__()

    def leave_to(self, others: Others) -> bool:
        self.is_left = self.owner is not None and not others.names_in(self.owner).isdisjoint(self._names)
        return self.is_left

    def read(self) -> tuple[list[Any], list[Any]]:
        return list(self._names), [self._get(name) for name in self._names]

    def taken(self) -> tuple[list[Any], list[Any]]:
        # As in `differs`; the names are always the same.
        if self._pair is not None and all(map(operator.is_, map(self._get, self._names), self._pair[1])):
            return self._pair
        return super().taken()

    def write(self, values: list[Any]) -> None:
        for name, now, value in zip(self._names, self.read()[1], values, strict=True):
            if now is value:
                continue
            if value is MISSING:
                self._drop(name)
            else:
                self._put(name, value)


def names_in(content: dict[str, Any], names: Iterable[str]) -> NamesHolder:
    """Of a module: `content` is its globals."""
    held = NamesHolder(
        names, lambda name: content.get(name, MISSING), content.__setitem__, lambda name: content.pop(name, None)
    )
    held.owner, held.items = content, (content, MISSING)
    return held


def attributes_of_class(cls: type, names: Iterable[str]) -> NamesHolder:
    """What is written on a class, and not what it inherits."""
    return NamesHolder(
        names,
        lambda name: vars(cls).get(name, MISSING),
        lambda name, value: type.__setattr__(cls, name, value),
        lambda name: type.__delattr__(cls, name),
    )


def slots_of(owner: object, names: Iterable[str]) -> NamesHolder:
    return NamesHolder(
        names,
        lambda name: safely(lambda: object.__getattribute__(owner, name), MISSING),
        lambda name, value: object.__setattr__(owner, name, value),
        lambda name: object.__delattr__(owner, name),
    )
