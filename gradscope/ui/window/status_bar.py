"""The status bar: the engine, what is running, the last message, and where the engine runs."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QTimer, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QStatusBar, QToolButton, QWidget

from gradscope.protocol.messages import ReplayProgress
from gradscope.protocol.numbers import number
from gradscope.protocol.phases import Rest
from gradscope.protocol.visible import visible
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineStatus
from gradscope.state.log import Source
from gradscope.state.run_progress import RunProgress
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.widgets.elided_label import ElidedLabel
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel, plain_tip
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.window.findings_sign import FindingsSign
from gradscope.ui.window.nonfinite_sign import NonFiniteSign
from gradscope.ui.window.stop_sign import StopSign
from gradscope.ui.words import text
from gradscope.ui.words.closer import under_way

_LOOK_BACK = 200
_PROGRESS_MS = 150
_AROUND_EMS, _GAP = 4, 6
"""The grip, the margins and the dots of a message; what Qt puts between two widgets."""
_BETWEEN = "  ·  "
_ICON = {
    EngineStatus.STOPPED: ("stop", "muted"),
    EngineStatus.STARTING: ("restart", "warning"),
    EngineStatus.READY: ("run", "good"),
    EngineStatus.DEAD: ("error", "bad"),
}


@guarded
class StatusBar(QStatusBar):
    """Shows state; `tell` adds a message of the app's own."""

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._themes = themes
        self._told = ""
        self._told_from = 0
        self._told_in: tuple[AppState, int] | None = None
        self.setObjectName("statusBar")
        # What is told for a moment makes no window wider.
        self.setMinimumWidth(1)
        self._sign = PlainLabel(parent=self)
        self.engine = PlainLabel(parent=self)
        self.activity = PlainLabel(parent=self)
        self.cancel = QToolButton(self)
        self.cancel.setText(self.tr("Cancel"))
        self.cancel.setToolTip(self.tr("Give up the snapshot that is being opened"))
        self.cancel.clicked.connect(controller.cancel_snapshot)
        self.interrupt = QToolButton(self)
        self.interrupt.setText(self.tr("Interrupt"))
        self.interrupt.setToolTip(plain_tip(self.tr("Break it off: training stays where it stood")))
        self.interrupt.clicked.connect(controller.interrupt)
        self.message = ElidedLabel(parent=self)
        self.nonfinite = NonFiniteSign(controller, themes, self)
        self.stopped = StopSign(controller, themes, self)
        self.findings = FindingsSign(controller, themes, self)
        self.skipped = PlainLabel(parent=self)
        self.skipped.setProperty("role", "warning")
        self.device = PlainLabel(parent=self)
        self.interpreter = PlainLabel(parent=self)
        for label in (self.activity, self.message, self.device, self.interpreter):
            label.setProperty("role", "muted")
        self._sign.setContentsMargins(8, 0, 0, 0)
        for label in (self.activity, self.message, self.skipped, self.device, self.interpreter):
            label.setContentsMargins(8, 0, 8, 0)
        self.addWidget(self._sign)
        self.addWidget(self.engine)
        self.addWidget(self.activity)
        self.addWidget(self.cancel)
        self.addWidget(self.stopped)
        self.addWidget(self.interrupt)
        self.addWidget(self.nonfinite)
        self.addWidget(self.findings)
        self.addWidget(self.message, 1)
        for label in (self.skipped, self.device, self.interpreter):
            self.addPermanentWidget(label)
        self._progress = QTimer(self)
        self._progress.setInterval(_PROGRESS_MS)
        self._progress.timeout.connect(self._refresh_activity)
        self._refresh()
        self._refresh_message()
        self._paint_sign()
        controller.refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)

    def tell(self, message: str) -> None:
        """Show a message until something else is begun; the log's newest line of the time after it stands behind it."""
        self._told, self._told_in = message, self._now()
        self._told_from = self._controller.state.log.total
        self._refresh_message()

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.ENGINE, Topic.SESSION, Topic.POSITION, Topic.HISTORY}:
            self._refresh()
        elif topics & {Topic.TIMELINE, Topic.CONSOLE, Topic.WHAT_IF}:
            self._refresh_activity()
        if topics & {Topic.ENGINE}:
            self._paint_sign()
        if topics & {Topic.ENGINE, Topic.SESSION, Topic.POSITION, Topic.LOG, Topic.NONFINITE}:
            self._refresh_message()
        if topics & {Topic.ENGINE, Topic.SESSION, Topic.POSITION, Topic.NONFINITE, Topic.FINDINGS, Topic.STOPS}:
            self._fit()

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        self._paint_sign()

    # ------------------------------------------------------------------------------------------ private

    def _refresh(self) -> None:
        state = self._controller.state
        self.engine.setText(self._engine_text())
        self.engine.setToolTip(plain_tip(state.engine.text))
        self._refresh_activity()
        skipped = state.skipped_reports
        self.skipped.setVisible(skipped > 0)
        self.skipped.setText(self.tr("Reports not shown: {count}").format(count=skipped))
        self.skipped.setToolTip(
            self.tr(
                "The window took in nothing for so long that these could not be kept: plots lack them, training does not"
            )
        )
        self.device.setText(state.session.device if state.session is not None else "")
        self.device.setVisible(state.session is not None)
        executable, version = state.engine.executable, state.engine.torch_version
        parts = [f"torch {version}" if version else "", _short_path(executable)]
        self.interpreter.setText("   ".join(part for part in parts if part))
        self.interpreter.setToolTip(plain_tip(executable))

    @Slot()
    def _refresh_activity(self) -> None:
        self.activity.setText(self._activity())
        self.activity.setVisible(bool(self.activity.text()))
        is_reading = self._controller.reading_progress is not None
        self.cancel.setVisible(is_reading)
        state = self._controller.state
        self.interrupt.setVisible(state.timeline.is_going and state.position.running)
        if is_reading != self._progress.isActive():
            self._progress.start() if is_reading else self._progress.stop()

    def _engine_text(self) -> str:
        match self._controller.state.engine.status:
            case EngineStatus.STOPPED:
                return self.tr("Engine not started")
            case EngineStatus.STARTING:
                is_script = self._controller.state.engine.script is not None
                return self.tr("Script running") if is_script else self.tr("Engine starting")
            case EngineStatus.READY:
                return self.tr("Engine ready")
            case EngineStatus.DEAD:
                is_attached = self._controller.state.engine.is_attached
                return self.tr("Not connected") if is_attached else self.tr("Engine ended")

    def _activity(self) -> str:
        state = self._controller.state
        if state.awaited is not None:
            # Short, so that it fits a small window; the banner says the rest.
            return self.tr("No training step yet")
        if state.opening is not None:
            opening = self.tr("Opening %1").replace("%1", visible(Path(state.opening).name))
            what, share = self._controller.reading_progress or ("", 0.0)
            percent = f" {share:.0%}" if share else ""
            return f"{opening}: {what}{percent}" if what else opening
        if state.engine.status is EngineStatus.STARTING:
            return state.engine.text
        if state.console.running is not None:
            return self.tr("Evaluating")
        position = state.position
        if not position.running:
            is_over = position.rest is Rest.ENDED and state.snapshot is None
            return self.tr("The script has ended") if is_over else ""
        if state.run is not None:
            return self._run_text(state.run)
        if state.closer.under_way is not None:
            return under_way(state.timeline.progress)
        if state.timeline.is_going:
            return self._replay_text(state.timeline.progress)
        if state.findings.is_checking:
            return self.tr("Check-up")
        if state.what_if.running is not None:
            return self.tr("Trying steps, which are put back")
        moment = position.moment
        if moment is None:
            return self.tr("Running")
        where = f"{moment.substep.value} {visible(moment.layer)}".strip()
        return self.tr("Running: %1").replace("%1", where)

    def _replay_text(self, progress: ReplayProgress | None) -> str:
        """ "Going back: replayed 3 of 12 steps"."""
        if progress is None or progress.until <= progress.start:
            return self.tr("Going back")
        text = self.tr("Going back: replayed {done} of {steps} steps")
        done = min(max(progress.step + 1 - progress.start, 0), progress.until - progress.start)
        return text.format(done=done, steps=progress.until - progress.start)

    def _run_text(self, run: RunProgress) -> str:
        """ "Run: 66 of 100, 12.3 steps/s, 3 s left", as far as it is known."""
        if run.steps is None:
            parts = [self.tr("Run: {done} steps").format(done=run.done)]
        else:
            parts = [self.tr("Run: {done} of {steps}").format(done=run.done, steps=run.steps)]
        if run.steps_per_sec is not None:
            parts.append(self.tr("{speed} steps/s").format(speed=number(run.steps_per_sec)))
        if run.secs_left is not None:
            parts.append(self.tr("{time} left").format(time=text.time_left(run.secs_left)))
        return ", ".join(parts)

    def _refresh_message(self) -> None:
        """What was said since the newest thing was begun: before, it was of something that is over."""
        state = self._controller.state
        told = self._told if self._told_in == self._now() else ""
        start = self._told_from if told else state.undertaking_from
        # A flood of prints may bring thousands of lines; notes are looked for among the last ones only.
        lines = state.log.since(max(start, state.log.total - _LOOK_BACK))
        said = (line for line in reversed(lines) if line.source is Source.GRADSCOPE and not line.is_divider)
        newest = next((line.text for line in said), "")
        first = state.first_nonfinite
        if first is not None and not state.is_nonfinite_dismissed:
            # The sign beside it says how the sentence begins.
            newest = newest.removeprefix(f"{first.title}: ")
        self.message.show_text(_BETWEEN.join(part for part in (told, newest) if part))

    def _fit(self) -> None:
        """Where NaN began is to be read whole: where there is little room, what can be looked up elsewhere goes first."""
        state = self._controller.state
        has_sign = state.first_nonfinite is not None and not state.is_nonfinite_dismissed
        self.interpreter.show()
        self.device.setVisible(state.session is not None)
        if not has_sign:
            return
        for given_up in (None, self.interpreter, self.device):
            if given_up is not None:
                given_up.hide()
            room = self._room_for_sign()
            rest = self.message.sizeHint().width() if self.message.text() else 0
            if self.nonfinite.fit(room) and self.nonfinite.sizeHint().width() + rest <= room:
                break

    def _room_for_sign(self) -> int:
        """What everything else leaves, but for the message, which is cut where it has to be."""
        others = (self._sign, self.engine, self.activity, self.cancel, self.stopped, self.interrupt, self.findings)
        permanent = (self.skipped, self.device, self.interpreter)
        shown = [widget for widget in (*others, *permanent) if not widget.isHidden()]
        around = _AROUND_EMS * self.fontMetrics().height()
        return max(1, self.width() - around - sum(widget.sizeHint().width() + _GAP for widget in shown))

    def _now(self) -> tuple[AppState, int]:
        state = self._controller.state
        return state, state.undertaking

    def _paint_sign(self) -> None:
        theme = self._themes.theme
        name, colour = _ICON[self._controller.state.engine.status]
        size = self.fontMetrics().height()
        self._sign.setPixmap(icon(name, theme, colour=getattr(theme, colour)).pixmap(size, size))

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()


def _short_path(path: str) -> str:
    """The last three parts of a long path."""
    parts = Path(path).parts
    return path if len(parts) <= 4 else str(Path("…", *parts[-3:]))
