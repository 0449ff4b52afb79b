"""A few muted words in the middle of a view that has nothing to show yet."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QSizePolicy, QWidget

from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import WrappedLabel, plain_tip


@guarded
class EmptyNote(WrappedLabel):
    """In a panel that is too small for it, its tooltip has the whole text."""

    def __init__(self, text: str, parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setProperty("role", "muted")
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setContentsMargins(16, 16, 16, 16)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)

    def setText(self, text: str) -> None:
        super().setText(text)
        self.setToolTip(plain_tip(text))

    # ------------------------------------------------------------------------------------------ Qt

    def hasHeightForWidth(self) -> bool:
        """It takes the room that there is. A scroll area would give everything beside a text that wraps its full height."""
        return False
