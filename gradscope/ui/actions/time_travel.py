"""What a person does with time: looks at earlier steps, and takes the training back to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QCoreApplication, QObject, Signal, Slot

from gradscope.protocol.messages import GoTo, SetTimeline, StepBack
from gradscope.protocol.messages.timeline import RestoreWeights, Travel
from gradscope.protocol.scripts import Ability
from gradscope.state.app_state import AppState
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.actions.script_again import ScriptAgain
from gradscope.ui.look.settings import Setting
from gradscope.ui.widgets.redraw import owing

_CONTEXT = "TimeTravel"


class TimeTravel(QObject):
    """One for the window."""

    step_wanted = Signal()
    """A person is to be asked for the step to go to."""
    arrived = Signal(object)
    """The reply to what took the training elsewhere: WentTo, Cancelled or Failed."""

    def __init__(self, controller: Controller, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.script_again = ScriptAgain(controller, self)
        self._owes_limit = False
        """The setting is another one, and the engine has not been told, since something runs."""
        controller.settings.changed.connect(self._on_setting_changed)
        controller.refreshed.connect(self._on_refreshed)

    def handlers(self) -> dict[ActionId, Callable[[], None]]:
        """What the actions of the Time menu call."""
        return {
            ActionId.SHOW_EARLIER: self.show_earlier,
            ActionId.SHOW_LATER: self.show_later,
            ActionId.SHOW_NOW: self.show_now,
            ActionId.STEP_BACK: lambda: self.go(StepBack()),
            ActionId.STEP_BACK_WHOLE: lambda: self.go(StepBack(whole_step=True)),
            ActionId.GO_TO_STEP: self.step_wanted.emit,
            ActionId.GO_TO_SHOWN: self.go_to_shown,
            ActionId.RESTORE_WEIGHTS: self.restore_weights,
        }

    # ------------------------------------------------------------------------------------------ looking

    @Slot()
    def show_earlier(self) -> None:
        self._show_neighbour(-1)

    @Slot()
    def show_later(self) -> None:
        self._show_neighbour(1)

    @Slot()
    def show_now(self) -> None:
        self._controller.show_step(None)

    # ------------------------------------------------------------------------------------------ going

    def go(self, request: Travel) -> None:
        """Take the training elsewhere; nothing happens where that cannot be now. Interrupt breaks a replay off.

        A script is run again to the step.
        """
        state = self._controller.state
        if state.in_script:
            if isinstance(request, GoTo):
                self.script_again.start(request.step)
            return
        if state.going_back_refusal(request.step if isinstance(request, GoTo) else None) is not None:
            return

        def on_reply(reply: Any) -> None:
            self.arrived.emit(reply)

        state.begin_going()
        self._controller.ask(request, on_reply)
        self._controller.flush()

    @Slot()
    def go_to_shown(self) -> None:
        """Take the training to before the step that is looked at."""
        step = self._controller.state.shown.step
        if step is not None:
            self.go(GoTo(step=step))

    @Slot()
    def restore_weights(self) -> None:
        """Put what the script trained before the step that is looked at in place; the script itself goes on where it is."""
        state = self._controller.state
        step = state.shown.step
        if step is not None and state.weights_refusal(step) is None:
            state.set_running()
            self._controller.ask(RestoreWeights(step=step), lambda _reply: None)
            self._controller.flush()

    # ------------------------------------------------------------------------------------------ private

    @Slot(str)
    def _on_setting_changed(self, key: str) -> None:
        if key == Setting.TIMELINE_MB:
            self._owes_limit = True
            self._tell_limit()

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if Topic.POSITION in topics and self._owes_limit:
            self._tell_limit()

    def _tell_limit(self) -> None:
        state = self._controller.state
        if not state.position.running:
            self._owes_limit = False
            if state.never(Ability.GO_BACK) is None and state.snapshot is None:
                limit_bytes = self._controller.settings.get(Setting.TIMELINE_MB) * 1024 * 1024
                self._controller.ask(SetTimeline(limit_bytes=limit_bytes), lambda _reply: None)

    def _show_neighbour(self, move: int) -> None:
        step = self._controller.state.shown.neighbour(move)
        if step is not None:
            self._controller.show_step(step)


def time_refusal(state: AppState, action_id: ActionId) -> str | None:
    """Why an action of the Time menu cannot be used now; None if it can."""
    translate, shown = QCoreApplication.translate, state.shown
    if action_id in (ActionId.STEP_BACK, ActionId.STEP_BACK_WHOLE):
        return state.going_back_refusal()
    if action_id is ActionId.GO_TO_STEP:
        return state.again_refusal() if state.in_script else state.going_back_refusal()
    if action_id is ActionId.GO_TO_SHOWN:
        if shown.step is None:
            return translate(_CONTEXT, "Show an earlier step first")
        return state.again_refusal() if state.in_script else state.going_back_refusal(shown.step)
    if action_id is ActionId.RESTORE_WEIGHTS:
        if shown.step is None:
            return translate(_CONTEXT, "Show an earlier step first")
        return state.weights_refusal(shown.step)
    if shown.newest < 0:
        return translate(_CONTEXT, "No step is recorded yet")
    if action_id is ActionId.SHOW_EARLIER and shown.neighbour(-1) is None:
        return translate(_CONTEXT, "No earlier step is recorded")
    if action_id is not ActionId.SHOW_EARLIER and shown.step is None:
        return translate(_CONTEXT, "The newest step is shown")
    return None
