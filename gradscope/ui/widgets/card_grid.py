"""Cards side by side, as many in a row as there is room for, all equally wide."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from gradscope.ui.widgets.guarded import guarded

_SPACING = 12
_MIN_CHARACTERS = 34
_MAX_COLUMNS = 3


@guarded
class CardGrid(QWidget):
    """Places its cards itself: rows are as high as their highest card."""

    def __init__(self, cards: Sequence[QWidget], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._cards = list(cards)
        for card in self._cards:
            card.setParent(self)
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def columns(self, width: int) -> int:
        smallest = _MIN_CHARACTERS * self.fontMetrics().averageCharWidth()
        return max(1, min(_MAX_COLUMNS, len(self._cards), (width + _SPACING) // (smallest + _SPACING)))

    def _place(self, width: int, *, move: bool) -> int:
        """Place the cards for a width if `move`; returns the height."""
        columns = self.columns(width)
        card_width = (width - (columns - 1) * _SPACING) // columns
        y = 0
        for first in range(0, len(self._cards), columns):
            row = self._cards[first : first + columns]
            height = max(card.heightForWidth(card_width) for card in row)
            for i, card in enumerate(row):
                if move:
                    card.setGeometry(i * (card_width + _SPACING), y, card_width, height)
            y += height + _SPACING
        return max(0, y - _SPACING)

    # ------------------------------------------------------------------------------------------ Qt

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return self._place(width, move=False)

    def sizeHint(self) -> QSize:
        width = _MIN_CHARACTERS * self.fontMetrics().averageCharWidth() * _MAX_COLUMNS
        return QSize(width, self.heightForWidth(width))

    def minimumSizeHint(self) -> QSize:
        return QSize(_MIN_CHARACTERS * self.fontMetrics().averageCharWidth(), 0)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._place(event.size().width(), move=True)
        self.setMinimumHeight(self.heightForWidth(event.size().width()))
