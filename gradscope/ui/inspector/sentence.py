"""A label of whole sentences, whose role says how they are meant."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget

from gradscope.ui.widgets.plain import WrappedLabel


class Sentence(WrappedLabel):
    """Wrapped, selectable, hidden while it is empty. Roles as in the stylesheet: "", "muted", "good", "warning", "bad"."""

    def __init__(self, *, role: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent=parent)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setProperty("role", role)
        self.hide()

    def say(self, text: str, *, role: str | None = None) -> None:
        self.setText(text)
        self.setVisible(bool(text))
        if role is not None and role != self.property("role"):
            self.setProperty("role", role)
            self.style().polish(self)
