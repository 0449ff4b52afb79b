"""A colour bar with its numbers, and what the colours without a number mean. Paints itself, nothing to press."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QImage, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from gradscope.ui.plots.parts.palette import BEYOND, NON_FINITE, UNMEASURED, ZERO, Table
from gradscope.ui.plots.words.formats import BEYOND as MOST
from gradscope.ui.plots.words.formats import power_of_ten, scaled
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.words.quantities import Scale

_BAR_WIDTH = 260
_GAP = 8


@dataclass(frozen=True, kw_only=True)
class Key:
    """One patch of colour and what it stands for."""

    colour: QColor
    text: str
    is_crossed: bool = False
    is_hollow: bool = False


@guarded
class ColorStrip(QWidget):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._table: Table | None = None
        self._bar = QImage()
        self._low, self._high = 0.0, 1.0
        self._scale = Scale.LOG
        self._exponent = 0
        self._keys: tuple[Key, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_scale(
        self, table: Table, scale: Scale, low: float, high: float, special: set[int], *, exponent: int = 0
    ) -> None:
        """Show the map between low and high, which stand for so many times 10**exponent, and of BEYOND, ZERO, NON_FINITE and
        UNMEASURED those that occur."""
        keys = self._keys_of(table, special)
        shown = (self._scale, self._low, self._high, self._exponent, self._keys)
        if self._table is table and (scale, low, high, exponent, keys) == shown:
            return
        if self._table is not table:
            self._table = table
            row = np.ascontiguousarray(table[:256])
            self._bar = QImage(row.tobytes(), 256, 1, 1024, QImage.Format.Format_RGBA8888).copy()
        self._scale, self._low, self._high, self._exponent, self._keys = scale, low, high, exponent, keys
        self.setAccessibleName(
            self.tr("Colours from {low} to {high}").format(low=self._tick_text(low), high=self._tick_text(high))
        )
        self.update()

    def _keys_of(self, table: Table, special: set[int]) -> tuple[Key, ...]:
        texts = {
            BEYOND: self.tr("beyond {most}, drawn as infinite").format(most=MOST),
            ZERO: self.tr("exactly 0"),
            NON_FINITE: self.tr("NaN or Inf"),
            UNMEASURED: self.tr("not measured"),
        }
        return tuple(
            Key(
                colour=QColor(*(int(channel) for channel in table[which])),
                text=texts[which],
                is_crossed=which == NON_FINITE,
                is_hollow=which == UNMEASURED,
            )
            for which in sorted(special)
        )

    def _tick_text(self, drawn: float) -> str:
        if self._scale is Scale.LOG:
            return power_of_ten(round(drawn))
        return f"{drawn:.0f} %" if self._scale is Scale.PERCENT else scaled(drawn, self._exponent)

    def _ticks(self, width: float) -> list[float]:
        if self._scale is not Scale.LOG:
            return [self._low, (self._low + self._high) / 2, self._high]
        low, high = round(self._low), round(self._high)
        widest = max(self.fontMetrics().horizontalAdvance(power_of_ten(e)) for e in (low, high)) + 2 * _GAP
        stride = max(1, -(-(high - low) * widest // max(1, int(width))))
        return [float(e) for e in range(low, high + 1, stride)]

    # ------------------------------------------------------------------------------------------ Qt

    def sizeHint(self) -> QSize:
        return QSize(200, 10 + self.fontMetrics().height() + 8)

    def minimumSizeHint(self) -> QSize:
        return QSize(80, self.sizeHint().height())

    def paintEvent(self, _event: QPaintEvent) -> None:
        if self._bar.isNull():
            return
        painter = QPainter(self)
        metrics = self.fontMetrics()
        longest = max(metrics.horizontalAdvance(self._tick_text(end)) for end in (self._low, self._high))
        edge = max(metrics.horizontalAdvance("1e-88") / 2 + 4, longest / 2 + 1)
        text_colour = self.palette().placeholderText().color()
        painter.setPen(text_colour)
        key_width = sum(metrics.horizontalAdvance(key.text) + 12 + 3 * _GAP for key in self._keys)
        width = max(40.0, min(_BAR_WIDTH, self.width() - key_width - 2 * edge))
        bar = QRectF(edge, 2, width, 10)
        painter.drawImage(bar, self._bar)
        for drawn in self._ticks(width):
            x = bar.left() + (drawn - self._low) / (self._high - self._low or 1) * width
            painter.drawLine(QPointF(x, bar.bottom()), QPointF(x, bar.bottom() + 3))
            box = QRectF(x - 60, bar.bottom() + 2, 120, metrics.height() + 2)
            painter.drawText(box, Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignVCenter, self._tick_text(drawn))
        x = bar.right() + edge + _GAP
        for key in self._keys:
            x = self._paint_key(painter, key, x, text_colour)

    def _paint_key(self, painter: QPainter, key: Key, x: float, text_colour: QColor) -> float:
        metrics = self.fontMetrics()
        patch = QRectF(x, (self.height() - 12) / 2, 12, 12)
        painter.setPen(QPen(text_colour if key.is_hollow else key.colour, 1))
        painter.setBrush(Qt.BrushStyle.NoBrush if key.is_hollow else key.colour)
        painter.drawRect(patch)
        if key.is_crossed:
            painter.setPen(QPen(QColor("white"), 1.5))
            inner = patch.adjusted(3, 3, -3, -3)
            painter.drawLine(inner.topLeft(), inner.bottomRight())
            painter.drawLine(inner.topRight(), inner.bottomLeft())
        painter.setPen(text_colour)
        width = metrics.horizontalAdvance(key.text)
        left = patch.right() + _GAP / 2
        painter.drawText(QRectF(left, 0, width + 2, self.height()), Qt.AlignmentFlag.AlignVCenter, key.text)
        return left + width + 2 * _GAP
