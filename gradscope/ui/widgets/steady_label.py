"""A label of several lines that never gives back height: what stands above it does not jump when its text changes."""

from __future__ import annotations

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel


@guarded
class SteadyLabel(PlainLabel):
    """As high as the longest text so far needs at this width, and at least `least_lines`."""

    def __init__(self, parent: QWidget | None = None, *, least_lines: int = 1) -> None:
        super().__init__(parent=parent)
        self._least_lines = least_lines
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
        least = self._least_lines * self.fontMetrics().lineSpacing() + margins.top() + margins.bottom()
        self.setMinimumHeight(max(least, self.minimumHeight(), self.heightForWidth(self.width())))

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.start_anew()
