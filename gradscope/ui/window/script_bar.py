"""The banner of a script: that it runs and has not come to a training step yet, or that it has ended."""

from __future__ import annotations

from enum import Enum, auto

from PySide6.QtCore import QSize, Qt, QTimer, Slot
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QSizePolicy, QToolButton, QWidget

from gradscope.protocol.phases import Rest
from gradscope.protocol.scripts import Script
from gradscope.state.engine import EngineStatus
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.widgets.plain import PlainLabel, WrappedLabel
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.words.script import ended, not_begun, nothing_seen

PATIENCE_SECS = 30
"""After so long without a training step it is said that nothing was seen."""


class _Kind(Enum):
    HIDDEN = auto()
    NOT_BEGUN = auto()
    NOTHING_SEEN = auto()
    ENDED = auto()


class ScriptBar(QFrame):
    """Hidden while a script trains, and where there is none."""

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._themes = themes
        self._kind = _Kind.HIDDEN
        self._waiting_for: tuple[Script | None, int] = (None, 0)
        self._is_patience_over = self._is_dismissed = False
        self.setObjectName("scriptBar")
        self._sign = PlainLabel(parent=self)
        self.sentence = WrappedLabel(parent=self)
        self.sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.sentence.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        self.end = QPushButton(self.tr("End engine"), self)
        self.end.clicked.connect(lambda: controller.end_engine())
        self.reset = QPushButton(self.tr("Reset"), self)
        self.reset.setProperty("emphasised", True)
        self.reset.clicked.connect(lambda: controller.reset())
        for button in (self.end, self.reset):
            button.setAutoDefault(False)
        self.dismiss = QToolButton(self)
        self.dismiss.setProperty("flat", True)
        self.dismiss.setToolTip(self.tr("Dismiss"))
        self.dismiss.setAccessibleName(self.tr("Dismiss"))
        side = self.fontMetrics().height()
        self.dismiss.setIconSize(QSize(side, side))
        self.dismiss.clicked.connect(self._on_dismissed)
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE_SECS * 1000)
        self._patience.timeout.connect(self._on_patience_over)
        line = QHBoxLayout(self)
        line.setContentsMargins(8, 4, 8, 4)
        line.setSpacing(8)
        for widget in (self._sign, self.sentence, self.end, self.reset, self.dismiss):
            line.addWidget(widget, 1 if widget is self.sentence else 0)
        self._refresh()
        controller.refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.SESSION, Topic.ENGINE, Topic.POSITION, Topic.FAILURE}:
            self._refresh()

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        self._paint()

    @Slot()
    def _on_patience_over(self) -> None:
        self._is_patience_over = True
        self._refresh()

    @Slot()
    def _on_dismissed(self) -> None:
        self._is_dismissed = True
        self._refresh()

    # ------------------------------------------------------------------------------------------ private

    def _refresh(self) -> None:
        state = self._controller.state
        waiting_for = (state.awaited, state.undertaking)
        if waiting_for != self._waiting_for:
            # Its time begins when it does.
            self._waiting_for, self._is_patience_over = waiting_for, False
            self._patience.stop()
            if state.awaited is not None:
                self._patience.start()
        kind = self._kind_now()
        self._is_dismissed = self._is_dismissed and kind is _Kind.ENDED
        self._kind = kind
        self.setVisible(kind is not _Kind.HIDDEN and not self._is_dismissed)
        if kind is _Kind.HIDDEN:
            return
        script = state.awaited if state.session is None or kind is not _Kind.ENDED else state.session.script
        assert script is not None
        match kind:
            case _Kind.NOT_BEGUN:
                self.sentence.setText(not_begun(script))
            case _Kind.NOTHING_SEEN:
                self.sentence.setText(nothing_seen(script, PATIENCE_SECS))
            case _:
                self.sentence.setText(ended(state.exit_code))
        self.end.setVisible(kind is not _Kind.ENDED and not state.is_attached)
        self.reset.setVisible(kind is _Kind.ENDED)
        self.dismiss.setVisible(kind is _Kind.ENDED)
        self.setProperty("severity", "warning" if kind is _Kind.NOTHING_SEEN else "info")
        self.style().polish(self)
        self._paint()

    def _kind_now(self) -> _Kind:
        state = self._controller.state
        if state.awaited is not None:
            return _Kind.NOTHING_SEEN if self._is_patience_over else _Kind.NOT_BEGUN
        if state.failure is not None:
            # The banner of failures says how it has ended, and offers Reset too.
            return _Kind.HIDDEN
        is_there = state.snapshot is None and state.engine.status is EngineStatus.READY and state.opening is None
        return _Kind.ENDED if is_there and state.in_script and state.position.rest is Rest.ENDED else _Kind.HIDDEN

    def _paint(self) -> None:
        theme, is_trouble = self._themes.theme, self._kind is _Kind.NOTHING_SEEN
        name = {_Kind.NOTHING_SEEN: "warning", _Kind.ENDED: "stop"}.get(self._kind, "run")
        size = self.fontMetrics().height() + 4
        colour = theme.warning if is_trouble else theme.accent
        self._sign.setPixmap(icon(name, theme, colour=colour).pixmap(size, size))
        self.dismiss.setIcon(icon("close", theme))
