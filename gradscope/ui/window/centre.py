"""The middle of the window: notices above, the start page or the plots below. It asks for little, whatever is in it."""

from __future__ import annotations

from PySide6.QtWidgets import QStackedWidget, QVBoxLayout, QWidget

from gradscope.ui.widgets.scrolled_column import ScrolledColumn

_MIN_DIGITS, _MIN_LINES = 24, 5
_NOTICES_SHARE = 0.7


class Centre(QWidget):
    """`notices` and `pages` scroll where they need more room than a small window has."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.notices = ScrolledColumn(within=self, share=_NOTICES_SHARE)
        self.pages = QStackedWidget(self)
        # Beside a long notice it may be less than the tabs would have.
        self.pages.setMinimumHeight(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.notices)
        column.addWidget(self.pages, 1)
        metrics = self.fontMetrics()
        # What a widget asks for itself goes before what its contents do: these never push the window's edge outwards.
        self.setMinimumSize(_MIN_DIGITS * metrics.horizontalAdvance("0"), _MIN_LINES * metrics.lineSpacing())
