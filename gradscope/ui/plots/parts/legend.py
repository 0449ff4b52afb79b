"""What the lines and symbols of a chart mean, in one line below the plot."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from gradscope.protocol.visible import visible
from gradscope.ui.widgets.elided_label import elided
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_tip

_MARGIN = 8
_GAP = 5
_BETWEEN = 14


@dataclass(frozen=True)
class LegendEntry:
    """`glyph` looks like what is drawn: a line, a point, a triangle."""

    glyph: str
    colour: str
    text: str


@guarded
class Legend(QWidget):
    """Hidden while there is nothing to tell apart; a label that wraps would make its chart ask for height."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.entries: list[LegendEntry] = []
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.hide()

    def show_entries(self, entries: list[LegendEntry]) -> None:
        entries = [replace(entry, text=visible(entry.text)) for entry in entries]
        if entries != self.entries:
            self.entries = entries
            self.setToolTip(plain_tip("\n".join(f"{entry.glyph} {entry.text}" for entry in entries)))
            self.setAccessibleName(", ".join(entry.text for entry in entries))
            self.update()
        self.setVisible(bool(entries))

    # ------------------------------------------------------------------------------------------ Qt

    def sizeHint(self) -> QSize:
        return QSize(0, self.fontMetrics().height() + 6)

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter, metrics, x = QPainter(self), self.fontMetrics(), _MARGIN
        for entry in self.entries:
            room = self.width() - _MARGIN - x
            if room < metrics.height():
                break
            painter.setPen(QColor(entry.colour))
            painter.drawText(QRect(x, 0, room, self.height()), Qt.AlignmentFlag.AlignVCenter, entry.glyph)
            x += metrics.horizontalAdvance(entry.glyph) + (_GAP if entry.glyph else 0)
            text = elided(entry.text, metrics, self.width() - _MARGIN - x)
            painter.setPen(self.palette().windowText().color())
            painter.drawText(QRect(x, 0, self.width() - x, self.height()), Qt.AlignmentFlag.AlignVCenter, text)
            x += metrics.horizontalAdvance(text) + _BETWEEN
        painter.end()
