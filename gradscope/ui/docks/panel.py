"""What the docks have in common: a slim title bar, and a body with a border."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import QDockWidget, QFrame, QVBoxLayout, QWidget

from gradscope.ui.docks.panel_title import PanelTitle
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.guarded import guarded

_MIN_DIGITS = 24
_MIN_LINES = 4


@guarded
class Panel(QDockWidget):
    """A dock that can be moved, floated and closed. Subclasses fill `body`, a vertical layout."""

    leaving = Signal()
    """Somebody closes it while it is seen."""

    def __init__(self, title: str, *, name: str, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(title, parent)
        self.setObjectName(name)
        self.title_bar = PanelTitle(self, themes)
        self.setTitleBarWidget(self.title_bar)
        frame = QFrame(self)
        frame.setObjectName("dockBody")
        self.body = QVBoxLayout(frame)
        self.body.setContentsMargins(1, 1, 1, 1)
        self.body.setSpacing(0)
        # Contents may ask for more than a small window has; they are cut off rather than push the others aside.
        metrics = self.fontMetrics()
        frame.setMinimumSize(_MIN_DIGITS * metrics.horizontalAdvance("0"), _MIN_LINES * metrics.lineSpacing())
        self.setWidget(frame)
        # Behind a tab it is out of sight, and the keyboard has no business there.
        for part in (frame, self.title_bar):
            self.visibilityChanged.connect(part.setEnabled)

    def set_title_note(self, note: str) -> None:
        """A few words behind the title."""
        self.title_bar.note.setText(note)

    # ------------------------------------------------------------------------------------------ Qt

    def closeEvent(self, event: QCloseEvent) -> None:
        if not self.visibleRegion().isEmpty():
            self.leaving.emit()
        super().closeEvent(event)
