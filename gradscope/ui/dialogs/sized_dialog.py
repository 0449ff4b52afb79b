"""A dialog that opens as large as what is in it, and a part of one that scrolls where the screen has too little room."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QDialog, QFrame, QScrollArea, QSizePolicy, QWidget

from gradscope.ui.widgets.guarded import guarded

_FRAME_LINES = 3
"""The title and the border of a window, in lines of its font."""
_LEAST_LINES = 6


@guarded
class SizedDialog(QDialog):
    """Qt itself would give it at most two thirds of the screen, and cut texts that wrap."""

    _is_sized = False

    def room(self) -> QSize:
        """What a dialog may take of the screen."""
        return self.screen().availableSize() - QSize(0, _FRAME_LINES * self.fontMetrics().lineSpacing())

    def showEvent(self, event: QShowEvent) -> None:
        if not self._is_sized and not event.spontaneous():
            self._is_sized = True
            wanted, room = self.sizeHint(), self.room()
            width = min(wanted.width(), room.width())
            for form in self.findChildren(ScrolledForm):
                # Its inner layouts have not been told yet of texts that came after them.
                form.settle()
            layout = self.layout()
            height = wanted.height()
            if layout is not None and layout.hasHeightForWidth():
                # A dialog of texts that wrap has the height of these; others know their height.
                height = layout.totalHeightForWidth(width)
            self.resize(width, min(max(height, self.least_height()), room.height()))
        # Which puts it into the middle of its window.
        super().showEvent(event)

    def least_height(self) -> int:
        """Also where what is in it asks for less."""
        return 0


@guarded
class ScrolledForm(QScrollArea):
    """Asks for the height of its form in the width that it has, and needs only a few lines of it."""

    def __init__(self, form: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self._form = form
        self.setWidget(form)
        for widget in (form, self.viewport()):
            widget.setAutoFillBackground(False)

    def settle(self) -> None:
        """Lay the form out now."""
        layout = self._form.layout()
        if layout is not None:
            layout.activate()
        self.updateGeometry()

    def sizeHint(self) -> QSize:
        return self._form.sizeHint()

    def minimumSizeHint(self) -> QSize:
        return QSize(self._form.minimumSizeHint().width(), _LEAST_LINES * self.fontMetrics().lineSpacing())

    def heightForWidth(self, width: int) -> int:
        return self._form.heightForWidth(width)
