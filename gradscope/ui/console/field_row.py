"""The field to type in, and what belongs to it: beside it where there is room, else below."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QWidget

from gradscope.ui.widgets.guarded import guarded

_WIDE_DIGITS = 60


@guarded
class FieldRow(QWidget):
    def __init__(self, field: QWidget, tools: Sequence[QWidget], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        row = QHBoxLayout()
        row.setSpacing(4)
        for tool in tools:
            row.addWidget(tool)
        row.addStretch(1)
        self._layout = QBoxLayout(QBoxLayout.Direction.LeftToRight, self)
        self._layout.setContentsMargins(4, 0, 4, 4)
        self._layout.setSpacing(4)
        self._layout.addWidget(field, 1)
        self._layout.addLayout(row)

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        is_wide = self.width() > _WIDE_DIGITS * self.fontMetrics().horizontalAdvance("0")
        direction = QBoxLayout.Direction.LeftToRight if is_wide else QBoxLayout.Direction.TopToBottom
        if self._layout.direction() is not direction:
            self._layout.setDirection(direction)
