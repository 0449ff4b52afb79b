"""Paints words between commas, as the flags of layers: whole ones, and a mark for the others. The tooltip has them all."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QObject, QPersistentModelIndex, QSize
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import QApplication, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.redraw import Held

MARK = "\N{BLACK CIRCLE}"
"""For what has no room, in the colour of the cell."""
_BETWEEN = ", "


@guarded
class WordDelegate(QStyledItemDelegate):
    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._is_measuring = Held()

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        with self._is_measuring:
            return super().sizeHint(option, index)

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> None:
        super().initStyleOption(option, index)
        if self._is_measuring or not option.text:
            return
        metrics = QFontMetrics(option.font)
        style = QApplication.style() if option.widget is None else option.widget.style()
        # What Qt cuts a text to: a style sheet may keep more of a cell free.
        cell = style.subElementRect(QStyle.SubElement.SE_ItemViewItemText, option, option.widget)
        margin = style.pixelMetric(QStyle.PixelMetric.PM_FocusFrameHMargin, option, option.widget) + 1
        option.text = whole_words(option.text, metrics, cell.width() - 2 * margin)


def whole_words(text: str, metrics: QFontMetrics, room: int) -> str:
    """As many of the words between commas as fit into so many pixels, the first ones, with a mark for the others."""
    words = text.split(_BETWEEN)
    for count in range(len(words), 0, -1):
        shown = _BETWEEN.join([*words[:count], *([MARK] if count < len(words) else [])])
        if metrics.horizontalAdvance(shown) <= room:
            return shown
    return MARK
