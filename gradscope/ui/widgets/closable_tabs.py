"""What is asked of the middle of the window by who has a page for it that is there only while it is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from PySide6.QtWidgets import QWidget

from gradscope.ui.widgets.room import Room

_Content = TypeVar("_Content", bound=QWidget)


class ClosableTabs(Protocol):
    def add_closable(
        self, build: Callable[[], _Content], label: str, *, on_close: Callable[[], None] | None = None
    ) -> Room[_Content]: ...
    def show_page(self, page: Room) -> None: ...
    def go_to(self, page: Room) -> None: ...
    def hide_page(self, page: Room) -> None: ...
