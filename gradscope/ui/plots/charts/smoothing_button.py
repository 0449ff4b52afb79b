"""A button with a menu: over how many steps a loss is averaged. GUI thread."""

from __future__ import annotations

from PySide6.QtCore import Signal, Slot
from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QMenu, QToolButton, QWidget

CHOICES = (1, 10, 50, 200, 1000)
DEFAULT = 10


class SmoothingButton(QToolButton):
    changed = Signal(int)
    """The number of steps; 1 is none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.setToolTip(self.tr("Over about how many steps the strong line is averaged"))
        menu = QMenu(self)
        self._group = QActionGroup(self)
        for steps in CHOICES:
            action = menu.addAction(self.tr("%1 steps").replace("%1", str(steps)) if steps > 1 else self.tr("Off"))
            action.setCheckable(True)
            action.setChecked(steps == DEFAULT)
            action.setData(steps)
            self._group.addAction(action)
        self._group.triggered.connect(self._on_triggered)
        self.setMenu(menu)
        self._show(DEFAULT)

    def choose(self, steps: int) -> None:
        """One of CHOICES, as if a person had."""
        next(action for action in self._group.actions() if action.data() == steps).trigger()

    @Slot(QAction)
    def _on_triggered(self, action: QAction) -> None:
        self._show(action.data())
        self.changed.emit(action.data())

    def _show(self, steps: int) -> None:
        text = self.tr("Smooth %1").replace("%1", str(steps)) if steps > 1 else self.tr("Smooth off")
        self.setText(text)
        self.setAccessibleName(text)
