"""A label of one line that shortens its text to the room it has; the whole text is its tooltip."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QStyle, QWidget

from gradscope.protocol.numbers import without_part_of_number
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel, plain_tip


def elided(text: str, metrics: QFontMetrics, width: int, mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight) -> str:
    """A text made shorter to have room; what is cut off at its end is whole numbers, never some of their digits."""
    short = metrics.elidedText(text, mode, width)
    if short in ("", text) or mode is not Qt.TextElideMode.ElideRight:
        # Where not even the dots have room there is nothing.
        return short
    return text[: without_part_of_number(text, len(short) - 1)].rstrip() + "…"


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
        text = elided(self.text(), self.fontMetrics(), self.contentsRect().width(), self._mode)
        flags = QStyle.visualAlignment(self.layoutDirection(), self.alignment())
        self.style().drawItemText(
            painter, self.contentsRect(), int(flags), self.palette(), self.isEnabled(), text, self.foregroundRole()
        )
