"""A label of one line that shortens its text to the room it has; the whole text is its tooltip."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QStyle, QWidget

from gradscope.ui.guarded import guarded
from gradscope.ui.plain import PlainLabel, plain_tip


@guarded
class ElidedLabel(PlainLabel):
    def __init__(
        self,
        text: str = "",
        *,
        mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent=parent)
        self._mode = mode
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setText(text)

    def show_text(self, text: str) -> None:
        """Set the text, and the tooltip with it."""
        if text != self.text():
            self.setText(text)
            self.setToolTip(plain_tip(text))

    # ------------------------------------------------------------------------------------------ Qt

    def minimumSizeHint(self) -> QSize:
        return QSize(self.fontMetrics().horizontalAdvance("…"), super().minimumSizeHint().height())

    def sizeHint(self) -> QSize:
        return QSize(
            self.fontMetrics().horizontalAdvance(self.text()) + 2 + self.width() - self.contentsRect().width(),
            super().sizeHint().height(),
        )

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        text = self.fontMetrics().elidedText(self.text(), self._mode, self.contentsRect().width())
        flags = QStyle.visualAlignment(self.layoutDirection(), self.alignment())
        self.style().drawItemText(
            painter, self.contentsRect(), int(flags), self.palette(), self.isEnabled(), text, self.foregroundRole()
        )
