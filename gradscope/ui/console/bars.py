"""A histogram as a small picture: bars, and the least and the greatest value below them."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.numbers import number
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_tip

_LINES, _DIGITS = 6, 40


@guarded
class Bars(QWidget):
    """`edges` has one element more than `counts`; with none it asks for no room."""

    def __init__(self, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._themes = themes
        self._edges: FloatArray = np.empty(0)
        self._counts: IntArray = np.empty(0, np.int64)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        themes.changed.connect(self.update)

    def show_histogram(self, edges: FloatArray, counts: IntArray) -> None:
        self._edges, self._counts = edges, counts
        self.setVisible(len(counts) > 0)
        if len(counts):
            most = int(counts.argmax())
            low, high = number(float(edges[most])), number(float(edges[most + 1]))
            said = self.tr("%1 of %2 finite values are from %3 to %4").replace("%1", f"{int(counts[most]):,}")
            said = said.replace("%2", f"{int(counts.sum()):,}").replace("%3", low).replace("%4", high)
            self.setToolTip(plain_tip(said))
            self.setAccessibleDescription(said)
        self.update()

    # ------------------------------------------------------------------------------------------ Qt

    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        return QSize(_DIGITS * metrics.horizontalAdvance("0"), _LINES * metrics.lineSpacing())

    def paintEvent(self, _event: QPaintEvent) -> None:
        if not len(self._counts):
            return
        painter, theme = QPainter(self), self._themes.theme
        line = self.fontMetrics().lineSpacing()
        room = QRectF(self.rect()).adjusted(0, 2, 0, -line - 2)
        painter.fillRect(QRectF(room.left(), room.bottom(), room.width(), 1), QColor(theme.border))
        highest, width = max(1, int(self._counts.max())), room.width() / len(self._counts)
        for i, count in enumerate(self._counts):
            height = room.height() * int(count) / highest
            bar = QRectF(room.left() + i * width, room.bottom() - height, max(1.0, width - 1), height)
            painter.fillRect(bar, QColor(theme.series[0]))
        painter.setPen(QColor(theme.muted))
        below = QRectF(0, room.bottom() + 2, self.width(), line)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, number(float(self._edges[0])))
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, number(float(self._edges[-1])))
        painter.end()
