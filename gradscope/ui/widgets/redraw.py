"""What keeps one failed redraw from spoiling the next: everything that is put aside for a redraw comes back after it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

from PySide6.QtCore import QAbstractItemModel

from gradscope.state.topics import Topic

_View = TypeVar("_View")


def owing(slot: Callable[[_View, set[Topic]], None]) -> Callable[[_View, set[Topic]], None]:
    """A decorator for the slot of a view that takes topics: what it could not draw comes again with the next redraw."""

    @functools.wraps(slot)
    def call(view: _View, topics: set[Topic]) -> None:
        owed: set[Topic] = vars(view).get("_owed_topics", set()) | topics
        vars(view)["_owed_topics"] = owed
        slot(view, owed)
        vars(view)["_owed_topics"] = set()

    return call


class Held:
    """True inside of a `with` of it, also a nested one; false after it, however it was left."""

    def __init__(self) -> None:
        self._depth = 0

    def __bool__(self) -> bool:
        return self._depth > 0

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._depth -= 1


@contextmanager
def resetting(model: QAbstractItemModel) -> Iterator[None]:
    """Make the rows of a model anew: its views have to hear of the end."""
    model.beginResetModel()
    try:
        yield
    finally:
        model.endResetModel()
