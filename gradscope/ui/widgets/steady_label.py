"""A label of several lines that never gives back height: what stands around it does not jump when its text changes."""

from __future__ import annotations

import re

from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel

_NUMBER, _DIGITS = re.compile(r"\d+"), 5
"""So long is a number taken to become."""
_WRAPPED = Qt.TextFlag.TextWordWrap.value


@guarded
class SteadyLabel(PlainLabel):
    """As high as the longest text so far needs at this width, and at least `least_lines`."""

    def __init__(self, parent: QWidget | None = None, *, least_lines: int = 1, counts: bool = False) -> None:
        """`counts`: the numbers in its text get longer with each step, and there is room for that from the beginning."""
        super().__init__(parent=parent)
        self._least_lines, self._counts = least_lines, counts
        self.setWordWrap(True)
        self.setContentsMargins(8, 2, 8, 4)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)

    def show_steadily(self, text: str) -> None:
        """Another text of the same sort."""
        if text != self.text():
            self.setText(text)
            self._keep_height()

    def start_anew(self) -> None:
        """Texts of another sort follow."""
        self.setMinimumHeight(0)
        self._keep_height()

    def keep_lines(self, count: int) -> None:
        """At least so many from now on."""
        self._least_lines = count
        self.start_anew()

    def _keep_height(self) -> None:
        margins = self.contentsMargins()
        metrics, around = self.fontMetrics(), margins.top() + margins.bottom()
        width = max(1, self.width() - margins.left() - margins.right())
        least = self._least_lines * metrics.lineSpacing()
        if self._counts and self.text():
            longer = _NUMBER.sub(lambda number: number[0].zfill(_DIGITS), self.text())
            least = max(least, metrics.boundingRect(QRect(0, 0, width, 1), _WRAPPED, longer).height())
        least += around
        self.setMinimumHeight(max(least, self.minimumHeight(), self.heightForWidth(self.width())))

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.start_anew()
