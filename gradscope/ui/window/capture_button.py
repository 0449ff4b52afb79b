"""The button in the tool bar that says how much is captured, with a menu of the levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu, QToolButton, QWidget

from gradscope.protocol.capture import Capture, CaptureLevel
from gradscope.state.topics import Topic
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_tip
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.words.capture import cost_of, name_of, short_name

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller


@guarded
class CaptureButton(QToolButton):
    """The level of the session, or that of the next one while none is open. Cheaper levels are marked."""

    def __init__(
        self, controller: Controller, themes: ThemeManager, actions: Sequence[QAction], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._controller = controller
        self._themes = themes
        self._is_long = True
        self.setObjectName("captureButton")
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        menu.addActions(list(actions))
        self.setMenu(menu)
        self.refresh()
        controller.refreshed.connect(self._on_refreshed)
        controller.settings.changed.connect(self._on_setting_changed)
        themes.changed.connect(self.refresh)

    def show_long(self, is_long: bool) -> None:
        """Whether there is room for the word before the level."""
        if is_long != self._is_long:
            self._is_long = is_long
            self.refresh()

    def sizeHint(self) -> QSize:
        """As wide as any level needs: with another one, nothing beside it loses its text or gets it back."""
        spare = self._longest() - self.fontMetrics().horizontalAdvance(self._name(self._shown()))
        return super().sizeHint() + QSize(max(0, spare), 0)

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.ENGINE, Topic.SESSION, Topic.SETTINGS, Topic.POSITION}:
            self.refresh()

    @Slot(str)
    def _on_setting_changed(self, key: str) -> None:
        if key == Setting.CAPTURE:
            self.refresh()

    @Slot()
    def refresh(self) -> None:
        state, capture = self._controller.state, self._shown()
        has_session = state.session is not None
        reason = state.capture_refusal()
        name, cost = self._name(capture), cost_of(capture.level)
        self.setText(self.tr("Capture: {level}").format(level=name) if self._is_long else name)
        title = self.tr("Capture: {level}").format(level=name_of(capture.level))
        if capture.layers:
            title += f" ({', '.join(capture.layers)})"
        next_time = "" if has_session else self.tr("New sessions begin with it: File, Settings")
        self.setToolTip(plain_tip("\n".join(line for line in (title, cost, next_time, reason) if line)))
        self.setAccessibleName(title)
        self.setAccessibleDescription(self.toolTip())
        self.setEnabled(reason is None)
        is_full = capture.level is CaptureLevel.FULL
        theme = self._themes.theme
        self.setIcon(icon("capture", theme, colour=theme.text if is_full else theme.warning))
        if bool(self.property("differs")) == is_full:
            self.setProperty("differs", not is_full)
            self.style().polish(self)

    def _shown(self) -> Capture:
        state = self._controller.state
        return state.capture if state.session is not None else Capture(self._controller.settings.get(Setting.CAPTURE))

    def _name(self, capture: Capture) -> str:
        """The end of a name of a layer that is longer than the names of the levels."""
        return self.fontMetrics().elidedText(short_name(capture), Qt.TextElideMode.ElideLeft, self._longest())

    def _longest(self) -> int:
        return max(self.fontMetrics().horizontalAdvance(name_of(level)) for level in CaptureLevel)
