"""The slim title bar of a dock."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtWidgets import QDockWidget, QFrame, QHBoxLayout, QMainWindow, QToolButton

from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.widgets.elided_label import ElidedLabel
from gradscope.ui.widgets.plain import PlainLabel, plain_tip


class PanelTitle(QFrame):
    """The dock's title, a note, and buttons to float and close it. Behind a tab, the tab says the title."""

    def __init__(self, dock: QDockWidget, themes: ThemeManager) -> None:
        super().__init__(dock)
        self._dock = dock
        self._themes = themes
        self.setObjectName("dockTitle")
        self._label = PlainLabel(dock.windowTitle(), self)
        font = self._label.font()
        font.setBold(True)
        self._label.setFont(font)
        self.note = ElidedLabel(parent=self)
        self.note.setProperty("role", "muted")
        self._icons: dict[str, QToolButton] = {}
        self._float = self._button("float", self.tr("Take out of the window, or put back"))
        self._close = self._button("close", self.tr("Close this panel; the View menu brings it back"))
        self._float.clicked.connect(self._on_float_clicked)
        self._close.clicked.connect(dock.close)
        layout = self._layout = QHBoxLayout(self)
        layout.setContentsMargins(8, 2, 2, 2)
        layout.setSpacing(4)
        layout.addWidget(self._label)
        layout.addWidget(self.note)
        layout.addStretch(1)
        layout.addWidget(self._float)
        layout.addWidget(self._close)
        themes.changed.connect(self._on_theme_changed)
        dock.visibilityChanged.connect(self.refresh)
        dock.topLevelChanged.connect(self.refresh)
        dock.dockLocationChanged.connect(self.refresh)

    def add_button(self, icon_name: str, tooltip: str, slot: Callable[[], None]) -> QToolButton:
        """A button of the panel's own, before those of every panel."""
        button = self._button(icon_name, tooltip)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.clicked.connect(slot)
        self._layout.insertWidget(self._layout.indexOf(self._float), button)
        return button

    @Slot()
    def refresh(self) -> None:
        """Say the title, or leave that to the tab."""
        window = self._dock.parent()
        is_behind_tab = isinstance(window, QMainWindow) and bool(window.tabifiedDockWidgets(self._dock))
        self._label.setVisible(self._dock.isFloating() or not is_behind_tab)

    @Slot()
    def _on_float_clicked(self) -> None:
        self._dock.setFloating(not self._dock.isFloating())

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        for name, button in self._icons.items():
            button.setIcon(icon(name, theme, colour=theme.muted))

    def _button(self, icon_name: str, tooltip: str) -> QToolButton:
        button = self._icons[icon_name] = QToolButton(self)
        button.setIcon(icon(icon_name, self._themes.theme, colour=self._themes.theme.muted))
        side = self.fontMetrics().height()
        button.setIconSize(QSize(side, side))
        button.setToolTip(plain_tip(tooltip))
        button.setAccessibleName(tooltip)
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        return button
