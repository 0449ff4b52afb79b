"""What a person does about findings: dismiss them, ask for a check-up, cancel it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, Signal, Slot

from gradscope.protocol import messages
from gradscope.protocol.findings import Finding
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.dismissals import Dismissals, file_of
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.words.findings import check_up_told


class CheckUps(QObject):
    """One for the window."""

    ended = Signal(object)
    """The reply to a check-up: CheckUpDone, Cancelled or Failed; None where the engine has ended before."""

    def __init__(self, controller: Controller, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._dismissals = Dismissals(controller.settings)
        self._is_asked = False
        self._recall()
        controller.refreshed.connect(self._on_refreshed)

    # ------------------------------------------------------------------------------------------ check-up

    def plan(self, only: tuple[str, ...], on_reply: Callable[[Any], None]) -> None:
        """Ask what would be run now; `on_reply` gets CheckUpPlanned or Failed."""
        self._controller.ask(messages.PlanCheckUp(only=only), on_reply)

    def start(self, only: tuple[str, ...] = ()) -> bool:
        """Ask for a check-up, of all or only of what may find these ids; False where there can be none now."""
        state = self._controller.state
        if state.check_up_refusal() is not None:
            return False

        def on_reply(reply: Any) -> None:
            self._is_asked = False
            state.end_check_up()
            if isinstance(reply, (messages.CheckUpDone, messages.Cancelled)):
                state.log.say(check_up_told(reply, state.findings, state.position.step))
                state.touch(Topic.LOG)
            self.ended.emit(reply)
            self._controller.flush()

        self._is_asked = True
        state.begin_check_up()
        self._controller.ask(messages.CheckUp(only=only), on_reply)
        self._controller.flush()
        return True

    @Slot()
    def cancel(self) -> None:
        """Break it off after the forward that runs; training is as it was."""
        if self._controller.state.findings.is_checking:
            self._controller.client.send(messages.CancelCheckUp())

    # ------------------------------------------------------------------------------------------ dismissing

    def dismiss(self, finding: Finding) -> None:
        """Put it out of sight, for this file, until it becomes graver."""
        self._controller.state.findings.dismiss(finding)
        self._remember()

    def recall(self, finding: Finding) -> None:
        """Show it again."""
        self._controller.state.findings.recall(finding)
        self._remember()

    # ------------------------------------------------------------------------------------------ private

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if Topic.SESSION in topics:
            self._recall()
        if self._is_asked and not self._controller.state.findings.is_checking and Topic.ENGINE in topics:
            # Nobody will answer.
            self._is_asked = False
            self.ended.emit(None)

    def _recall(self) -> None:
        state = self._controller.state
        known = self._dismissals.recall(file_of(state.session))
        if known != state.findings.dismissed:
            state.findings.remember(known)
            state.touch(Topic.FINDINGS)

    def _remember(self) -> None:
        state = self._controller.state
        self._dismissals.remember(file_of(state.session), state.findings.dismissed)
        state.touch(Topic.FINDINGS)
        self._controller.flush()
