"""Paints a cell with a bar at its bottom, as long as the cell's share of the whole."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QObject, QPersistentModelIndex, QRectF
from PySide6.QtGui import QColor, QPainter
from PySide6.QtWidgets import QStyleOptionViewItem

from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.fitting_delegate import NumberDelegate
from gradscope.ui.widgets.guarded import guarded

_HEIGHT = 3


@guarded
class ShareDelegate(NumberDelegate):
    """`role` is the model's role of the share, from 0 to 1."""

    def __init__(self, themes: ThemeManager, *, role: int, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._themes = themes
        self._role = role

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        super().paint(painter, option, index)
        share = index.data(self._role)
        if share is None:
            return
        cell = option.rect
        width = max(1.0, share * (cell.width() - 8))
        bar = QRectF(cell.right() - 4 - width, cell.bottom() - _HEIGHT, width, _HEIGHT)
        painter.fillRect(bar, QColor(self._themes.theme.series[0]))
