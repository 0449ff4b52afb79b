"""Paints a cell with the numbers of a watched expression over the steps, as one small line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import QModelIndex, QObject, QPersistentModelIndex, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QPolygonF
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.guarded import guarded

_PADDING, _DOT = 4, 1.6
_LEAST_DIGITS = 10


@guarded
class SparklineDelegate(QStyledItemDelegate):
    """`role` gives (steps, numbers) of a cell. Where a number is not finite there is a mark instead."""

    def __init__(self, themes: ThemeManager, *, role: int, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._themes, self._role = themes, role

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        super().paint(painter, option, index)
        steps, numbers = index.data(self._role) or ((), ())
        room = QRectF(option.rect).adjusted(_PADDING, _PADDING, -_PADDING, -_PADDING)
        if not steps or room.width() < 2 or room.height() < 2:
            return
        theme = self._themes.theme
        lines, marks = points(steps, numbers, room)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(theme.series[0]), 1.2))
        for line in lines:
            painter.drawPolyline(QPolygonF(line))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(theme.bad))
        for x in marks:
            painter.drawRect(QRectF(x - _DOT, room.top(), 2 * _DOT, room.height()))
        painter.setBrush(QColor(theme.series[0]))
        if lines:
            painter.drawEllipse(lines[-1][-1], _DOT, _DOT)
        painter.restore()

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        hint = super().sizeHint(option, index)
        return QSize(_LEAST_DIGITS * option.fontMetrics.horizontalAdvance("0"), hint.height())


def points(steps: Sequence[int], numbers: Sequence[float], room: QRectF) -> tuple[list[list[QPointF]], list[float]]:
    """(pieces of the line, where numbers are not finite). As many points as there are pixels, at most twice."""
    stride = max(1, len(steps) // max(1, 2 * int(room.width())))
    kept = [*range(0, len(steps) - 1, stride), len(steps) - 1]
    finite = [numbers[i] for i in kept if math.isfinite(numbers[i])]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    first, span = steps[0], max(1, steps[-1] - steps[0])
    lines: list[list[QPointF]] = [[]]
    marks: list[float] = []
    for i in kept:
        x = room.left() + room.width() * (steps[i] - first) / span
        if not math.isfinite(numbers[i]):
            marks.append(x)
            lines.append([])
            continue
        share = (numbers[i] - low) / (high - low) if high > low and math.isfinite(high - low) else 0.5
        lines[-1].append(QPointF(x, room.bottom() - share * room.height()))
    return [line for line in lines if line], marks
