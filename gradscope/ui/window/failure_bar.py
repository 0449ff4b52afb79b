"""The banner above the workspace: what failed, where, what was undone; or how the engine died."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtGui import QFontDatabase, QGuiApplication
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from gradscope.client.file_watch import FileWatch
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.phases import Rest
from gradscope.protocol.scripts import Ability
from gradscope.protocol.visible import visible, visible_lines
from gradscope.state.engine import EngineStatus
from gradscope.state.refusals import RUN_THE_CELL_AGAIN
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.widgets.flow_row import FlowRow
from gradscope.ui.widgets.plain import PlainLabel, WrappedLabel
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.words.file import what_has_changed

_DETAIL_LINES, _LEAST_DETAIL_LINES = 12, 5
_DETAIL_SHARE = 0.25
"""The traceback takes at most so much of the window."""


@dataclass(frozen=True, kw_only=True)
class _Notice:
    """What the banner shows."""

    sentence: str
    more: str = ""
    details: str = ""
    severity: str = "bad"
    """ "bad", "warning" or "info"."""
    layer: str | None = None
    is_engine_death: bool = False
    is_session_lost: bool = False
    is_unopened: bool = False
    """It has kept a recipe from being opened."""
    is_resistance: bool = False
    """The engine goes on after an Interrupt."""
    can_be_traced: bool = False
    """Run once more, a backward that has failed would name the line of the forward."""
    is_pause_ignored: bool = False
    """Or after a Pause."""
    can_ask_where: bool = False
    """It is a script that has not been asked yet where it is."""
    is_script_over: bool = False
    """The script has ended with it: it can be started again."""


_SEVERITY = {
    FailureKind.USER_CODE: "bad",
    FailureKind.BAD_INPUT: "warning",
    FailureKind.CANCELLED: "info",
    FailureKind.OUR_BUG: "bad",
}
_ICON = {"bad": "error", "warning": "warning", "info": "info"}


class FailureBar(QFrame):
    """Hidden while there is nothing to tell."""

    details_shown = Signal()

    def __init__(
        self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None, *, watch: FileWatch
    ) -> None:
        """`watch` knows when the file has changed that could not be opened."""
        super().__init__(parent)
        self._controller = controller
        self._watch = watch
        self._themes = themes
        self._notice: _Notice | None = None
        self._dismissed: _Notice | None = None
        self.setObjectName("failureBar")
        self._sign = PlainLabel(parent=self)
        self.sentence = self._make_text()
        self.more = self._make_text()
        self.more.setProperty("role", "muted")
        self.show_layer = self._make_button(self.tr("Show layer"), self._on_show_layer)
        self.trace = self._make_button(self.tr("Run again to find the line"), controller.go_traced)
        self.trace.setToolTip(
            self.tr(
                "The same batch once more in torch's anomaly mode, several times as slow: the failure then names the line of "
                "the forward whose backward fails"
            )
        )
        self.toggle = self._make_button(self.tr("Show traceback"), self._on_toggled)
        self.copy = self._make_button(self.tr("Copy"), self._on_copy)
        self.restart = self._make_button(self.tr("Restart engine"), controller.restart_engine)
        self.reopen = self._make_button(self.tr("Open it again"), controller.reset)
        self.again = self._make_button(self.tr("Try again"), controller.open_again)
        self.reset = self._make_button(self.tr("Reset"), controller.reset)
        self.end = self._make_button(self.tr("End engine"), lambda: controller.end_engine())
        self.interrupt = self._make_button(self.tr("Interrupt"), controller.interrupt)
        self.where = self._make_button(self.tr("Where is it?"), controller.ask_where)
        for button in (self.restart, self.reopen, self.again, self.reset, self.end, self.interrupt):
            button.setProperty("emphasised", True)
        self.dismiss = QToolButton(self)
        self.dismiss.setProperty("flat", True)
        self.dismiss.setToolTip(self.tr("Dismiss"))
        self.dismiss.setAccessibleName(self.tr("Dismiss"))
        side = self.fontMetrics().height()
        self.dismiss.setIconSize(QSize(side, side))
        self.dismiss.clicked.connect(self._on_dismissed)
        self.details = QPlainTextEdit(self)
        self.details.setReadOnly(True)
        self.details.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.details.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.details.setAccessibleName(self.tr("Traceback"))
        self._arrange()
        self._refresh()
        controller.refreshed.connect(self._on_refreshed)
        watch.changed.connect(self._refresh)
        themes.changed.connect(self._on_theme_changed)

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.FAILURE, Topic.ENGINE, Topic.SESSION, Topic.POSITION, Topic.SOURCE}:
            self._refresh()

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        self._paint_sign()

    @Slot()
    def _on_show_layer(self) -> None:
        if self._notice is not None and self._notice.layer is not None:
            self._controller.select(Selection.of_node(self._notice.layer, is_parameter=False))

    @Slot()
    def _on_toggled(self) -> None:
        self._show_details(not self.details.isVisible())
        if not self.details.isHidden():
            self.details_shown.emit()

    @Slot()
    def _on_copy(self) -> None:
        if self._notice is not None:
            parts = [self._notice.sentence, self._notice.more, self._notice.details]
            QGuiApplication.clipboard().setText("\n\n".join(part for part in parts if part))

    @Slot()
    def _on_dismissed(self) -> None:
        self._dismissed = self._notice
        if self._controller.state.failure is not None:
            self._controller.dismiss_failure()
        self._refresh()

    # ------------------------------------------------------------------------------------------ private

    @Slot()
    def _refresh(self) -> None:
        notice = self._current_notice()
        if notice is None:
            self._dismissed = None
        if notice == self._dismissed:
            notice = None
        if notice == self._notice:
            self.setVisible(notice is not None)
            return
        self._notice = notice
        self.setVisible(notice is not None)
        if notice is not None:
            self._show(notice)

    def _current_notice(self) -> _Notice | None:
        state = self._controller.state
        if state.snapshot is not None:
            # A snapshot needs no engine: how that ended is told when its session is shown again.
            return _notice_of_failure(state.failure) if state.failure is not None else None
        if state.engine.status is EngineStatus.DEAD:
            sentence, _, details = state.engine.text.strip().partition("\n")
            is_of_script = state.unopened is not None and state.unopened.script is not None
            if state.engine.is_attached:
                return _Notice(sentence=sentence, more=RUN_THE_CELL_AGAIN, severity="info", is_engine_death=True)
            return _Notice(sentence=sentence, details=details.strip(), is_engine_death=True, is_unopened=is_of_script)
        if state.engine.resistance:
            more = self.tr("It goes on until you end it. The plots stay; the recipe has to be opened again then")
            if state.in_script:
                more = self.tr("It goes on until you end it. The plots stay; Reset starts the script again then")
            sentence = self._with_place(state.engine.resistance)
            return _Notice(sentence=sentence, more=more, severity="warning", is_resistance=True)
        if state.engine.pause_ignored:
            never = state.never(Ability.UNDO_PHASE)
            more = never or self.tr("Interrupt breaks it off at once, also inside your code, and undoes the phase")
            sentence, moment = state.engine.pause_ignored, state.position.moment
            if moment is not None:
                sentence += f" ({moment.substep.value} {moment.layer})".replace(" )", ")")
            sentence = self._with_place(sentence)
            return _Notice(
                sentence=sentence,
                more=more,
                severity="warning",
                is_pause_ignored=never is None,
                is_resistance=never is not None,
                can_ask_where=never is not None,
            )
        is_lost = state.session is not None and state.position.rest is Rest.EMPTY and state.opening is None
        is_told = state.failure is not None and state.unopened is not None
        if state.session is not None and is_lost and not is_told and state.engine.status is EngineStatus.READY:
            sentence = self.tr("The engine has started anew, and {name} is no longer open in it")
            more = self.tr("The plots are those of the session before. Opening it runs your code from the beginning")
            name = state.session.name
            return _Notice(
                sentence=sentence.format(name=visible(name)), more=more, severity="info", is_session_lost=True
            )
        if state.failure is None:
            return None
        can_be_traced = state.failure.can_be_traced and state.refusal(state.next_verb) is None
        is_over = state.in_script and state.position.rest is Rest.ENDED
        notice = replace(_notice_of_failure(state.failure), can_be_traced=can_be_traced, is_script_over=is_over)
        if state.unopened is None:
            return notice
        changed = what_has_changed(state, state.unopened.path) if self._watch.has_changed else ""
        more = " ".join(part for part in (notice.more, changed) if part)
        return replace(notice, is_unopened=True, more=more)

    def _with_place(self, sentence: str) -> str:
        """The sentence, and where a script is that does not stop, once that is known."""
        state = self._controller.state
        if not state.in_script or not state.stack:
            return sentence
        line = state.stack[0].line
        place = self.tr("{sentence}. It is at {file}, line {line}, in {function}")
        file = line.file.replace("\\", "/").rpartition("/")[2]
        return place.format(sentence=sentence, file=file, line=line.line, function=line.function)

    def _show(self, notice: _Notice) -> None:
        self.sentence.setText(visible(notice.sentence))
        self.more.setText(visible(notice.more))
        self.more.setVisible(bool(notice.more))
        self.details.setPlainText(visible_lines(notice.details))
        self.toggle.setVisible(bool(notice.details))
        self.show_layer.setVisible(notice.layer is not None)
        self.trace.setVisible(notice.can_be_traced)
        is_own = self._controller.state.engine_refusal_to_end() is None
        self.restart.setVisible(notice.is_engine_death and is_own)
        self.reopen.setVisible(notice.is_session_lost)
        self.again.setVisible(notice.is_unopened)
        self.reset.setVisible(notice.is_script_over and not notice.is_unopened)
        self.end.setVisible(notice.is_resistance and is_own)
        self.interrupt.setVisible(notice.is_pause_ignored)
        self.where.setVisible(notice.can_ask_where)
        self.copy.setVisible(not notice.is_session_lost)
        self._show_details(False)
        self.setProperty("severity", notice.severity)
        self.style().polish(self)
        self._paint_sign()

    def _show_details(self, shown: bool) -> None:
        self.details.setVisible(shown)
        is_death = self._notice is not None and self._notice.is_engine_death
        if shown:
            self.toggle.setText(self.tr("Hide details") if is_death else self.tr("Hide traceback"))
        else:
            self.toggle.setText(self.tr("Show details") if is_death else self.tr("Show traceback"))
        self._fit_details()

    def _fit_details(self) -> None:
        line = self.details.fontMetrics().lineSpacing()
        most = max(_LEAST_DETAIL_LINES, min(_DETAIL_LINES, int(_DETAIL_SHARE * self.window().height() / line)))
        self.details.setFixedHeight(min(most, self.details.blockCount() + 1) * line + 16)

    def _paint_sign(self) -> None:
        severity, theme = self._notice.severity if self._notice is not None else "info", self._themes.theme
        colour = {"bad": theme.bad, "warning": theme.warning, "info": theme.accent}[severity]
        size = self.fontMetrics().height() + 4
        self._sign.setPixmap(icon(_ICON[severity], theme, colour=colour).pixmap(size, size))
        self.dismiss.setIcon(icon("close", theme))

    def _make_text(self) -> QLabel:
        label = WrappedLabel(parent=self)
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        label.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        return label

    def _make_button(self, text: str, slot: Callable[[], None]) -> QPushButton:
        button = QPushButton(text, self)
        button.setAutoDefault(False)
        button.clicked.connect(slot)
        return button

    def _arrange(self) -> None:
        buttons = FlowRow(self, spacing=8)
        ways_on = (
            *(self.end, self.interrupt, self.where, self.restart, self.reopen, self.trace),
            *(self.again, self.reset),
        )
        for button in (*ways_on, self.show_layer, self.toggle, self.copy):
            buttons.add(button)
        texts = QVBoxLayout()
        texts.setSpacing(4)
        texts.addWidget(self.sentence)
        texts.addWidget(self.more)
        texts.addSpacing(4)
        texts.addWidget(buttons)
        line = QHBoxLayout()
        line.setContentsMargins(8, 8, 8, 8)
        line.setSpacing(8)
        top = Qt.AlignmentFlag.AlignTop
        line.addWidget(self._sign, 0, top)
        line.addLayout(texts, 1)
        line.addWidget(self.dismiss, 0, top)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(line)
        column.addWidget(self.details)


def _notice_of_failure(failure: Failure) -> _Notice:
    return _Notice(
        sentence=failure.sentence,
        more=failure.undone,
        details=failure.traceback.strip(),
        severity=_SEVERITY[failure.kind],
        layer=failure.layer,
    )
