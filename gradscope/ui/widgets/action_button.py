"""A tool button that follows a QAction and can be emphasised as the natural next thing to press."""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu, QToolButton, QWidget

from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager, icon


class ActionButton(QToolButton):
    """Unlike a QToolButton's default action, its icon takes the colour that fits an emphasised background."""

    def __init__(
        self, action: QAction, *, icon_name: str, text: str, themes: ThemeManager, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._action = action
        self._icon_name = icon_name
        self._themes = themes
        self._emphasised = False
        self.setText(text)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAccessibleName(text)
        self.clicked.connect(action.trigger)
        action.changed.connect(self._on_action_changed)
        themes.changed.connect(self._on_theme_changed)
        self._on_action_changed()
        self._on_theme_changed(themes.theme)

    def is_emphasised(self) -> bool:
        return self._emphasised

    def set_text(self, text: str) -> None:
        """What it stands for is called otherwise now."""
        if text != self.text():
            self.setText(text)
            self.setAccessibleName(text)

    def set_emphasised(self, emphasised: bool) -> None:
        if emphasised == self._emphasised:
            return
        self._emphasised = emphasised
        self.setProperty("emphasised", emphasised)
        self.style().polish(self)
        self._on_theme_changed(self._themes.theme)

    def set_drop_down(self, actions: list[QAction]) -> None:
        """Further actions, in a menu at the button's side."""
        menu = QMenu(self)
        menu.addActions(actions)
        self.setMenu(menu)
        self.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)

    @Slot()
    def _on_action_changed(self) -> None:
        self.setEnabled(self._action.isEnabled())
        self.setToolTip(self._action.toolTip())
        self.setAccessibleDescription(self._action.toolTip())

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        self.setIcon(icon(self._icon_name, theme, colour=theme.accent_text if self._emphasised else None))
