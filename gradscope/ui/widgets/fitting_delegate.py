"""Paints cells whose text is made shorter where it has too little room, in its own way, where Qt would cut its end off."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from PySide6.QtCore import QModelIndex, QObject, QPersistentModelIndex, QSize, Qt
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import QApplication, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from gradscope.protocol.numbers import fitted
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.redraw import Held

MARK = "\N{BLACK CIRCLE}"
"""For words that have no room, in the colour of the cell."""
_BETWEEN = ", "


@guarded
class FittingDelegate(QStyledItemDelegate):
    """A cell wants room for all of its text; what it has decides what is painted."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._is_measuring = Held()

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        with self._is_measuring:
            return super().sizeHint(option, index)

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> None:
        super().initStyleOption(option, index)
        if self._is_measuring or not self.can_shorten(option):
            return
        metrics = QFontMetrics(option.font)
        style = QApplication.style() if option.widget is None else option.widget.style()
        # What Qt cuts a text to: a style sheet may keep more of a cell free.
        cell = style.subElementRect(QStyle.SubElement.SE_ItemViewItemText, option, option.widget)
        margin = style.pixelMetric(QStyle.PixelMetric.PM_FocusFrameHMargin, option, option.widget) + 1
        room = cell.width() - 2 * margin
        option.text = self.shortened(option.text, lambda shown: metrics.horizontalAdvance(shown) <= room)

    @abstractmethod
    def can_shorten(self, option: QStyleOptionViewItem) -> bool:
        """Whether its text is one that this delegate has a shorter form of."""

    @abstractmethod
    def shortened(self, text: str, fits: Callable[[str], bool]) -> str:
        """The form that is painted; `fits` says whether a text has room."""


@guarded
class NumberDelegate(FittingDelegate):
    """Numbers are rounded. They are what stands at the right of its cell."""

    def can_shorten(self, option: QStyleOptionViewItem) -> bool:
        is_right = bool(option.displayAlignment & Qt.AlignmentFlag.AlignRight)
        return is_right and any(character.isdigit() for character in option.text)

    def shortened(self, text: str, fits: Callable[[str], bool]) -> str:
        return fitted(text, fits)


@guarded
class WordDelegate(FittingDelegate):
    """Of words between commas, as the flags of layers, the first are whole, with a mark for the others. The tooltip has them
    all."""

    def can_shorten(self, option: QStyleOptionViewItem) -> bool:
        return bool(option.text)

    def shortened(self, text: str, fits: Callable[[str], bool]) -> str:
        return whole_words(text, fits)


def whole_words(text: str, fits: Callable[[str], bool]) -> str:
    """As many of the words between commas as fit, the first ones, with a mark for the others."""
    words = text.split(_BETWEEN)
    for count in range(len(words), 0, -1):
        shown = _BETWEEN.join([*words[:count], *([MARK] if count < len(words) else [])])
        if fits(shown):
            return shown
    return MARK
