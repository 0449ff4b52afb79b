"""The console and the list of watched expressions, in whichever shape the panel has."""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QSplitter, QWidget

from gradscope.ui.widgets.guarded import guarded

_WIDE_DIGITS = 100
_SHARE_WIDE, _SHARE_HIGH = 0.58, 0.6
"""Of the console."""


@guarded
class ConsoleSplit(QSplitter):
    """Beside each other where there is room, else the console above; or as it was dragged."""

    def __init__(self, console: QWidget, watches: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self._is_dragged = False
        self.setChildrenCollapsible(True)
        self.addWidget(console)
        self.addWidget(watches)
        for widget in (console, watches):
            # The size of a dock is not a matter of what is in it.
            widget.setMinimumSize(1, 1)
        self.splitterMoved.connect(self._on_moved)

    @Slot()
    def _on_moved(self) -> None:
        self._is_dragged = True

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        is_wide = self.width() > _WIDE_DIGITS * self.fontMetrics().horizontalAdvance("0")
        orientation = Qt.Orientation.Horizontal if is_wide else Qt.Orientation.Vertical
        if self.orientation() is not orientation:
            self.setOrientation(orientation)
            self._is_dragged = False
        if not self._is_dragged:
            whole = self.width() if is_wide else self.height()
            size = round((_SHARE_WIDE if is_wide else _SHARE_HIGH) * whole)
            self.setSizes([size, whole - size])
