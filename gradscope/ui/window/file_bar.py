"""The banner that says that the recipe's file has been saved since it was opened: at one press training goes on with it as it
is now, or it is opened again."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from gradscope.client.file_watch import FileWatch
from gradscope.protocol.messages.edits import EditFile
from gradscope.protocol.phases import Rest
from gradscope.state.engine import EngineStatus
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.widgets.flow_row import FlowRow
from gradscope.ui.widgets.plain import PlainLabel, WrappedLabel, plain_tip
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.words.file import what_has_changed


class FileBar(QFrame):
    """Hidden while the file is as it was. It never opens anything by itself: that would throw the steps so far away.

    The file that could not be opened comes first, then the one of the session.
    """

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._themes = themes
        self._dismissed = ""
        """The digest of the content that somebody does not want to hear of any more."""
        self.setObjectName("fileBar")
        self.watch = FileWatch(self)
        self._sign = PlainLabel(parent=self)
        self.sentence = WrappedLabel(parent=self)
        self.sentence.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        self.open_button = QPushButton(self.tr("Open it again"), self)
        self.open_button.setAutoDefault(False)
        self.open_button.setProperty("emphasised", True)
        self.open_button.clicked.connect(controller.open_again)
        self.go_on_button = QPushButton(self.tr("Go on with it"), self)
        self.go_on_button.setAutoDefault(False)
        self.go_on_button.clicked.connect(self._on_gone_on)
        self.dismiss = QToolButton(self)
        self.dismiss.setProperty("flat", True)
        self.dismiss.setToolTip(self.tr("Dismiss, until the file is saved once more"))
        self.dismiss.setAccessibleName(self.tr("Dismiss"))
        side = self.fontMetrics().height()
        self.dismiss.setIconSize(QSize(side, side))
        self.dismiss.clicked.connect(self._on_dismissed)
        self._arrange()
        self._on_theme_changed(themes.theme)
        self._refresh()
        self.watch.changed.connect(self._refresh)
        controller.refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)
        # Not every file system tells of changes: whoever comes back from an editor sees them all the same.
        application = QGuiApplication.instance()
        assert isinstance(application, QGuiApplication)
        application.applicationStateChanged.connect(self._on_application_state)

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.SESSION, Topic.ENGINE, Topic.POSITION, Topic.FAILURE, Topic.SETTINGS}:
            self._refresh()

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        size = self.fontMetrics().height() + 4
        self._sign.setPixmap(icon("file", theme, colour=theme.accent).pixmap(size, size))
        self.dismiss.setIcon(icon("close", theme))

    @Slot(Qt.ApplicationState)
    def _on_application_state(self, state: Qt.ApplicationState) -> None:
        if state is Qt.ApplicationState.ApplicationActive:
            self.watch.look()

    @Slot()
    def _on_gone_on(self) -> None:
        state = self._controller.state
        if state.edit_refusal(EditFile) is None:
            self._controller.edit(EditFile())
            # It runs the user's code, which may take long, and can be interrupted.
            state.set_running()
            self._controller.flush()

    @Slot()
    def _on_dismissed(self) -> None:
        self._dismissed = self.watch.seen
        self._refresh()

    @Slot()
    def _refresh(self) -> None:
        state = self._controller.state
        path, known = self._watched()
        self.watch.watch(path, known)
        is_wanted = self.watch.has_changed and self.watch.seen != self._dismissed
        # The failure bar says it where it offers to try again.
        is_told = state.unopened is not None and state.failure is not None and state.engine.status is EngineStatus.READY
        is_shown = is_wanted and not is_told and state.opening is None and state.snapshot is None
        # First: what is laid out while it is hidden is laid out too narrow.
        self.setVisible(is_shown)
        if is_shown:
            self.sentence.setText(what_has_changed(state, path))
            self.sentence.setToolTip(plain_tip(path))
            self._refresh_way_on()

    # ------------------------------------------------------------------------------------------ private

    def _refresh_way_on(self) -> None:
        state = self._controller.state
        reason = state.edit_refusal(EditFile)
        meaning = self.tr(
            "What the file says otherwise counts from here on; weights, optimizer and place in the data stay"
        )
        # A file that could not be opened has no training, and a script goes its own way.
        self.go_on_button.setVisible(state.unopened is None and not state.in_script)
        self.go_on_button.setEnabled(reason is None)
        self.go_on_button.setToolTip(plain_tip(reason or meaning))

    def _arrange(self) -> None:
        buttons = FlowRow(self, spacing=8)
        buttons.add(self.go_on_button)
        buttons.add(self.open_button)
        texts = QVBoxLayout()
        texts.setSpacing(4)
        texts.addWidget(self.sentence)
        texts.addWidget(buttons)
        line = QHBoxLayout()
        line.setContentsMargins(8, 4, 8, 4)
        line.setSpacing(8)
        top = Qt.AlignmentFlag.AlignTop
        line.addWidget(self._sign, 0, top)
        line.addLayout(texts, 1)
        line.addWidget(self.dismiss, 0, top)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(line)

    def _watched(self) -> tuple[str, str]:
        """(path, known digest) of the file to watch; empty where there is none, or the failure bar speaks of it already."""
        state = self._controller.state
        if state.unopened is not None:
            return state.unopened.path, state.unopened.digest
        is_ready = state.engine.status is EngineStatus.READY and state.position.rest is not Rest.EMPTY
        if state.session is None or not is_ready or state.snapshot is not None:
            return "", ""
        if state.in_script and not state.session.sha256:
            # A module is where Python finds it.
            return "", ""
        return state.session.path, state.session.sha256
