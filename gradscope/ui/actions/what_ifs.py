"""What a person tries beside the training: steps, the loss around a step, a pinned batch."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, Signal, Slot

from gradscope.protocol import messages
from gradscope.protocol.what_if.tried import AS_IT_IS, USUAL, Alternative, Directions, Mode
from gradscope.state.app_state import AppState
from gradscope.state.topics import Topic
from gradscope.state.what_if.trials import Tried
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.widgets.redraw import owing

WHAT_IF_ROWS = (ActionId.WHAT_IF, ActionId.PIN_PROBE, ActionId.SHOW_PROBE, ActionId.UNPIN_PROBE)
MAX_OWN = 20
"""Alternatives of a person's own."""


class WhatIfs(QObject):
    """One for the window."""

    ended = Signal(object, str)
    """Something was answered (which `Tried`): a sentence where it was cancelled or has failed, "" otherwise."""
    wanted = Signal()
    """Somebody wants to see the tab."""
    probe_wanted = Signal()
    """The same of the pinned batch."""

    def __init__(self, controller: Controller, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.own: list[Alternative] = []
        """What is tried beside the usual alternatives."""
        self.other_batches = 0
        self._asked: Tried | None = None
        controller.refreshed.connect(self._on_refreshed)

    # ------------------------------------------------------------------------------------------ steps

    @Slot()
    def show(self) -> None:
        """The tab; the first time, the usual steps are tried."""
        self.wanted.emit()
        if self._controller.state.what_if.trials is None:
            self.try_steps()

    @Slot()
    def try_steps(self) -> bool:
        """The usual alternatives and a person's own; False where nothing can be tried now."""
        return self._ask(
            Tried.STEPS, messages.WhatIf(alternatives=(*USUAL, *self.own), other_batches=self.other_batches)
        )

    def add(self, alternative: Alternative) -> bool:
        """Try another one with the others from now on; False where it is there already, or there are many."""
        if alternative in (*USUAL, *self.own) or len(self.own) >= MAX_OWN:
            return False
        self.own.append(alternative)
        return self.try_steps()

    def remove(self, alternative: Alternative) -> None:
        """One of a person's own, from the next time on."""
        self.own = [own for own in self.own if own != alternative]

    def follow(self, alternative: Alternative = AS_IT_IS) -> bool:
        """The loss along a step."""
        return self._ask(Tried.ALONG, messages.LossAlong(alternative=alternative))

    def slice(self, directions: Directions, mode: Mode, side: int) -> bool:
        """The loss on a plane."""
        return self._ask(Tried.SURFACE, messages.LossSurface(directions=directions, mode=mode, side=side))

    @Slot()
    def cancel(self) -> None:
        """Break off what runs, after its forward; training is as it was."""
        if self._controller.state.what_if.running is not None:
            self._controller.client.send(messages.CancelWhatIf())

    # ------------------------------------------------------------------------------------------ the probe

    @Slot()
    def pin(self, *, every: int = 1, mode: Mode = Mode.EVAL) -> None:
        """The newest batch, in the place of the one before."""
        self.probe_wanted.emit()
        self._ask(Tried.PROBE, messages.SetProbe(every=every, mode=mode))

    @Slot()
    def unpin(self) -> None:
        self._ask(Tried.PROBE, messages.SetProbe(is_pinned=False))

    @Slot()
    def run_probe(self) -> None:
        """Once more, now."""
        self._ask(Tried.PROBE, messages.RunProbe())

    # ------------------------------------------------------------------------------------------ private

    def _ask(self, what: Tried, message: Any) -> bool:
        state = self._controller.state
        if what is Tried.PROBE and state.trial_refusal(probes=True) is not None:
            return False
        if what is not Tried.PROBE and state.trial_refusal() is not None:
            return False

        def on_reply(reply: Any) -> None:
            self._asked = None
            if state.what_if.running is not None:
                state.what_if.end()
                state.set_standing()
            state.touch(Topic.WHAT_IF)
            told = ""
            if isinstance(reply, messages.Cancelled):
                told = self.tr("Cancelled: training is as it was")
            elif isinstance(reply, messages.Failed):
                told = self.tr("{why}. Training is as it was").format(why=reply.failure.sentence)
            self.ended.emit(what, told)
            self._controller.flush()

        self._asked = what
        state.what_if.begin(what)
        state.set_running()
        state.touch(Topic.WHAT_IF)
        self._controller.ask(message, on_reply)
        self._controller.flush()
        return True

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if Topic.SESSION in topics:
            self.own, self.other_batches = [], 0
        if self._asked is not None and Topic.ENGINE in topics and self._controller.state.what_if.running is None:
            # Nobody will answer.
            asked, self._asked = self._asked, None
            self.ended.emit(asked, self.tr("Broken off: the engine has ended"))


def what_if_refusal(state: AppState, action_id: ActionId) -> str | None:
    """Why an action about what is tried cannot be used now; None if it can."""
    if action_id is ActionId.WHAT_IF:
        # What was tried can be looked at while training goes on; the tab says why nothing can be tried now.
        return None if state.session is not None and state.snapshot is None else state.trial_refusal()
    if action_id is not ActionId.PIN_PROBE and state.what_if.probe is None:
        return "No batch is pinned"
    if action_id is ActionId.SHOW_PROBE:
        return None
    return state.trial_refusal(probes=True)
