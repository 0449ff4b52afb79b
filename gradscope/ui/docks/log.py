"""The Log panel: what the user's code printed, and what gradscope has to say."""

from __future__ import annotations

from PySide6.QtCore import QTimer, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QStackedLayout, QWidget

from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.docks.log_view import LogView
from gradscope.ui.docks.panel import Panel
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.empty_note import EmptyNote
from gradscope.ui.widgets.redraw import owing

_LINES_AT_ONCE = 200
"""A flood of prints comes into the view bit by bit, so that the window answers in between."""
_PAUSE_MS = 10


class LogDock(Panel):
    """Appends what is new in state.log. Clearing empties the view, not the log."""

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(self.tr("Log"), name="logDock", themes=themes, parent=parent)
        self._controller = controller
        self._seen = 0
        self._cleared_at = 0
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_PAUSE_MS)
        self._rest.timeout.connect(self._append_new)
        self.view = LogView(themes, self)
        self.view.setAccessibleName(self.tr("Log"))
        self._empty = EmptyNote(self.tr("What your code prints appears here"), self)
        self.title_bar.add_button("copy", self.tr("Copy the log, or what is selected in it"), self._on_copy_clicked)
        self.title_bar.add_button("clear", self.tr("Clear the log"), self._on_clear_clicked)
        self._stack = QStackedLayout()
        self._stack.addWidget(self._empty)
        self._stack.addWidget(self.view)
        self.body.addLayout(self._stack, 1)
        self._append_new()
        controller.refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if Topic.LOG in topics:
            self._append_new()

    @Slot()
    def _on_copy_clicked(self) -> None:
        selected = self.view.textCursor().selection().toPlainText()
        QGuiApplication.clipboard().setText(selected or self.view.toPlainText())

    @Slot()
    def _on_clear_clicked(self) -> None:
        self.view.clear_lines()
        self._seen = self._cleared_at = self._controller.state.log.total
        self._stack.setCurrentWidget(self._empty)

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        self.view.clear_lines()
        self._seen = self._cleared_at
        self._append_new()

    @Slot()
    def _append_new(self) -> None:
        log = self._controller.state.log
        lines = log.since(self._seen)
        now, later = lines[:_LINES_AT_ONCE], lines[_LINES_AT_ONCE:]
        self._seen = log.total - len(later)
        if now:
            self._stack.setCurrentWidget(self.view)
            self.view.append_lines(now)
        if later:
            self._rest.start()
