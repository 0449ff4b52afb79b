"""A title of one line that goes on in further lines where there is no room for it in one."""

from __future__ import annotations

from PySide6.QtCore import QSize
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel

_SPARE = 2


@guarded
class WrappedTitle(PlainLabel):
    """Qt's own label, where it may wrap, would rather be as wide as it is high."""

    def __init__(self, text: str, parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        font = self.font()
        font.setBold(True)
        self.setFont(font)
        self.setWordWrap(True)
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)

    def show_title(self, text: str) -> None:
        if text != self.text():
            self.setText(text)
            self._fit_height()

    def _fit_height(self) -> None:
        needed = self.heightForWidth(self.width())
        if needed not in (-1, self.minimumHeight()):
            self.setFixedHeight(needed)

    # ------------------------------------------------------------------------------------------ Qt

    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        return QSize(metrics.horizontalAdvance(self.text()) + _SPARE, metrics.height())

    def minimumSizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        longest = max((metrics.horizontalAdvance(word) for word in self.text().split()), default=0)
        return QSize(longest + _SPARE, metrics.height())

    def hasHeightForWidth(self) -> bool:
        # Else plots beside it would get the height that they would like, and not what is left.
        return False

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit_height()
