"""Paints cells with numbers: where one has too little room it is rounded, where Qt would cut its end off."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QObject, QPersistentModelIndex, QSize, Qt
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import QApplication, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from gradscope.protocol.numbers import fitted
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.redraw import Held


@guarded
class NumberDelegate(QStyledItemDelegate):
    """Numbers are what stands at the right of its cell."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._is_measuring = Held()

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        with self._is_measuring:
            return super().sizeHint(option, index)

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> None:
        super().initStyleOption(option, index)
        text = option.text
        is_right = bool(option.displayAlignment & Qt.AlignmentFlag.AlignRight)
        if self._is_measuring or not is_right or not any(character.isdigit() for character in text):
            return
        metrics = QFontMetrics(option.font)
        style = QApplication.style() if option.widget is None else option.widget.style()
        # What Qt cuts a text to: a style sheet may keep more of a cell free.
        cell = style.subElementRect(QStyle.SubElement.SE_ItemViewItemText, option, option.widget)
        margin = style.pixelMetric(QStyle.PixelMetric.PM_FocusFrameHMargin, option, option.widget) + 1
        room = cell.width() - 2 * margin
        option.text = fitted(text, lambda shown: metrics.horizontalAdvance(shown) <= room)
