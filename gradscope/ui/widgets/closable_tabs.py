"""What is asked of the middle of the window by who has a page for it that is there only while it is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from PySide6.QtWidgets import QWidget


class ClosableTabs(Protocol):
    def add_closable(self, page: QWidget, label: str, *, on_close: Callable[[], None]) -> None: ...
    def show_page(self, page: QWidget) -> None: ...
    def go_to(self, page: QWidget) -> None: ...
    def hide_page(self, page: QWidget) -> None: ...
