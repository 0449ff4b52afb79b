"""Beside the name in the inspector: a button that pins the subject, and the list of what is pinned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QHBoxLayout, QMenu, QToolButton, QWidget, QWidgetAction

from gradscope.protocol.subjects import SubjectKey
from gradscope.state.app_state import AppState
from gradscope.state.selection import Selection
from gradscope.ui.actions.actions import plain
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.actions.table import TABLE
from gradscope.ui.inspector.pin_list import PinList
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.widgets.plain import plain_tip
from gradscope.ui.words.pins import pin_explanation, pin_text

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller


class PinButtons(QWidget):
    """While nothing is pinned there is no list, and no button for it."""

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._themes = themes
        self._key: SubjectKey | None = None
        self.toggle = QToolButton()
        self.toggle.setCheckable(True)
        self.toggle.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.toggle.setIconSize(QSize(self.fontMetrics().height(), self.fontMetrics().height()))
        self.toggle.clicked.connect(self._on_toggled)
        self.list = PinList(themes)
        self.list.chosen.connect(self._on_chosen)
        self.list.unpin_wanted.connect(self._on_unpin_wanted)
        self.list.unpin_all_wanted.connect(controller.unpin_all)
        self.menu = QMenu(self)
        self._entry = QWidgetAction(self.menu)
        self._entry.setDefaultWidget(self.list)
        self.menu.addAction(self._entry)
        self.menu.aboutToShow.connect(self._on_about_to_show)
        self.opener = QToolButton()
        self.opener.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.opener.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.opener.setMenu(self.menu)
        self.opener.hide()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        row.addWidget(self.toggle)
        row.addWidget(self.opener)
        self._draw(themes.theme)
        themes.changed.connect(self._draw)

    def show_subject(self, state: AppState, key: SubjectKey) -> None:
        """Follow the selection, and what is pinned."""
        self._key = key
        is_pinned, count = key in state.pins, len(state.pins)
        if is_pinned != self.toggle.isChecked():
            self.toggle.setChecked(is_pinned)
            self._draw(self._themes.theme)
        shortcut = QKeySequence(TABLE[ActionId.PIN].shortcuts[0]).toString(QKeySequence.SequenceFormat.NativeText)
        name = self.tr("Unpin") if is_pinned else plain(pin_text(key.kind))
        self.toggle.setAccessibleName(name)
        self.toggle.setToolTip(plain_tip(f"{name}  ({shortcut})\n{pin_explanation(key.kind)}"))
        self.opener.setVisible(count > 0)
        self.opener.setText(str(count))
        title = self.tr("What is pinned: {count}").format(count=count)
        self.opener.setToolTip(plain_tip(title))
        self.opener.setAccessibleName(title)
        if not count:
            self.menu.close()
        elif self.menu.isVisible():
            self._fill(is_again=True)

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_toggled(self) -> None:
        if self._key is not None:
            self._controller.toggle_pin(self._key)

    @Slot(object)
    def _on_chosen(self, key: SubjectKey) -> None:
        self.menu.close()
        self._controller.select(Selection.of_subject(key))

    @Slot(object)
    def _on_unpin_wanted(self, key: SubjectKey) -> None:
        if key in self._controller.state.pins:
            self._controller.toggle_pin(key)

    @Slot()
    def _on_about_to_show(self) -> None:
        self._fill()
        self.list.take_keyboard()

    @Slot(object)
    def _draw(self, theme: Theme) -> None:
        self.toggle.setIcon(icon("pin", theme, colour=theme.accent if self.toggle.isChecked() else theme.muted))

    # ------------------------------------------------------------------------------------------ private

    def _fill(self, *, is_again: bool = False) -> None:
        if self._key is not None:
            self.list.show_pins(self._controller.state, self._key, is_again=is_again)
        self.list.fit()
        # The menu asks for the size of its entry only when the entry has changed.
        self._entry.setData(None if self._entry.data() else True)
