"""The band across the window that says that this is a snapshot, of what, and how to leave it."""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QHBoxLayout, QToolBar, QWidget

from gradscope.protocol.visible import visible
from gradscope.state.topics import Topic
from gradscope.ui.actions.actions import Actions, plain, translated
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.actions.table import TABLE
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.widgets.action_button import ActionButton
from gradscope.ui.widgets.elided_label import ElidedLabel
from gradscope.ui.widgets.plain import PlainLabel, plain_tip
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.words import text

_MAX_NAME = 80


class SnapshotBand(QToolBar):
    """A tool bar by its place in the window; hidden while a session is shown."""

    def __init__(
        self, controller: Controller, themes: ThemeManager, *, actions: Actions, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._controller = controller
        self._themes = themes
        self.setObjectName("snapshotBand")
        self.setWindowTitle(self.tr("Snapshot"))
        self.setMovable(False)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        self._sign = PlainLabel(parent=self)
        self._label = ElidedLabel()
        whole = QWidget(self)
        line = QHBoxLayout(whole)
        line.setContentsMargins(4, 0, 0, 0)
        line.setSpacing(8)
        line.addWidget(self._sign)
        line.addWidget(self._label, 1)
        for action_id in (ActionId.COMPARE, ActionId.CLOSE_SNAPSHOT):
            row = TABLE[action_id]
            name = plain(translated(row.short or row.text, steps=0))
            line.addWidget(
                ActionButton(actions[action_id], icon_name=row.icon or "", text=name, themes=themes, parent=self)
            )
        self.addWidget(whole)
        self._on_theme_changed(themes.theme)
        self.refresh()
        controller.refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)

    @property
    def text(self) -> str:
        """ "Snapshot of ..., step 41, written ..., read-only"; empty while a session is shown."""
        state = self._controller.state
        if state.snapshot is None or state.session is None:
            return ""
        words = self.tr("Snapshot of {name}, step {step}, written {when}, read-only")
        return words.format(
            name=visible(state.session.name[:_MAX_NAME]),
            step=state.position.step,
            when=text.written_at(state.snapshot.created) or self.tr("at an unknown time"),
        )

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if Topic.SESSION in topics:
            self.refresh()

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        size = self.fontMetrics().height() + 4
        self._sign.setPixmap(icon("info", theme, colour=theme.accent).pixmap(size, size))

    def refresh(self) -> None:
        """Also after a layout has been restored, which has a say in what is visible."""
        snapshot = self._controller.state.snapshot
        self.setVisible(snapshot is not None)
        if snapshot is not None:
            self._label.show_text(self.text)
            self._label.setToolTip(plain_tip(snapshot.path))
