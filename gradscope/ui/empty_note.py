"""A few muted words in the middle of a view that has nothing to show yet."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QSizePolicy, QWidget

from gradscope.ui.guarded import guarded
from gradscope.ui.plain import PlainLabel


@guarded
class EmptyNote(PlainLabel):
    def __init__(self, text: str, parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setProperty("role", "muted")
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setWordWrap(True)
        self.setContentsMargins(16, 16, 16, 16)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)

    # ------------------------------------------------------------------------------------------ Qt

    def hasHeightForWidth(self) -> bool:
        """It takes the room that there is. A scroll area would give everything beside a text that wraps its full height."""
        return False
