"""A sample model as a card on the start page: a number, a title, a few lines; the whole card is the button."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel, plain_tip

_MARGIN = 12


@guarded
class SampleCard(QPushButton):
    """`path` is the sample's file."""

    def __init__(self, *, number: int, title: str, text: str, path: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.path = path
        self.setProperty("role", "card")
        self.setAutoDefault(True)
        self.setAccessibleName(title)
        self.setAccessibleDescription(text)
        self.setToolTip(plain_tip(str(path)))
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        heading = self._label(title)
        font = heading.font()
        font.setBold(True)
        heading.setFont(font)
        body = self._label(text)
        body.setProperty("role", "muted")
        badge = self._label(str(number))
        badge.setProperty("role", "badge")
        badge.setWordWrap(False)
        badge.setAlignment(Qt.AlignmentFlag.AlignCenter)
        side = badge.fontMetrics().height() + 8
        badge.setFixedSize(side, side)
        top = QHBoxLayout()
        top.setSpacing(8)
        top.addWidget(badge, 0, Qt.AlignmentFlag.AlignTop)
        top.addWidget(heading, 1)
        column = self._column = QVBoxLayout(self)
        column.setContentsMargins(_MARGIN, _MARGIN, _MARGIN, _MARGIN)
        column.setSpacing(8)
        column.addLayout(top)
        column.addWidget(body)
        column.addStretch(1)

    def _label(self, text: str) -> QLabel:
        label = PlainLabel(text, self)
        label.setWordWrap(True)
        label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        return label

    # ------------------------------------------------------------------------------------------ Qt

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return self._column.totalHeightForWidth(width)

    def sizeHint(self) -> QSize:
        return self._column.totalSizeHint()

    def minimumSizeHint(self) -> QSize:
        return self._column.totalMinimumSize()
