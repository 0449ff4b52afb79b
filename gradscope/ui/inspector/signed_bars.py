"""Paints a cell with a bar below its text, from zero to the right for a positive share, to the left for a negative one."""

from __future__ import annotations

import math

from PySide6.QtCore import QModelIndex, QObject, QPersistentModelIndex, QRectF
from PySide6.QtGui import QColor, QPainter
from PySide6.QtWidgets import QStyleOptionViewItem

from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.cell_table import SHARE_ROLE
from gradscope.ui.widgets.fitting_delegate import NumberDelegate
from gradscope.ui.widgets.guarded import guarded

_HEIGHT = 4
_MARGIN = 4
_MOST = 1e300
"""Shares beyond it are drawn as this, so that no difference overflows."""


@guarded
class SignedBarDelegate(NumberDelegate):
    """All bars have one scale, from `low` (at most 0) to `high` (at least 1); what is not finite ends there."""

    def __init__(self, themes: ThemeManager, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._themes = themes
        self._low, self._high = 0.0, 1.0

    def set_range(self, shares: list[float]) -> None:
        finite = [max(-_MOST, min(share, _MOST)) for share in shares if math.isfinite(share)]
        self._low, self._high = min(0.0, *finite, 0.0), max(1.0, *finite, 1.0)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        super().paint(painter, option, index)
        share = index.data(SHARE_ROLE)
        if share is None or math.isnan(share):
            return
        share = max(self._low, min(share, self._high))
        cell, theme = option.rect, self._themes.theme
        scale = (cell.width() - 2 * _MARGIN) / (self._high - self._low)
        zero = cell.left() + _MARGIN - self._low * scale
        top = cell.bottom() - _HEIGHT
        painter.fillRect(QRectF(cell.left() + _MARGIN, top, cell.width() - 2 * _MARGIN, _HEIGHT), QColor(theme.grid))
        length = max(1.0, abs(share) * scale)
        bar = QRectF(zero if share >= 0 else zero - length, top, length, _HEIGHT)
        painter.fillRect(bar, QColor(theme.series[0] if share >= 0 else theme.series[1]))
