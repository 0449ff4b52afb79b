"""A page of texts that wrap, in a panel of any size: what has no room scrolls."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QLayout, QScrollArea, QWidget


class ScrolledPage(QScrollArea):
    """Up and down only, with what is behind it as its colour."""

    def __init__(self, layout: QLayout, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        page = QWidget()
        # The least height of labels that wrap is that of their least width.
        page.setMinimumSize(1, 1)
        page.setLayout(layout)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWidget(page)
        for widget in (page, self.viewport()):
            widget.setAutoFillBackground(False)
