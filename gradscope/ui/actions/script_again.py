"""Running a script again to an earlier step: another process is started for it, and what it comes to is compared with what
was recorded before."""

from __future__ import annotations

import time

from PySide6.QtCore import QObject, QTimer, Slot

from gradscope.protocol.phases import Rest
from gradscope.state.going_back.again import Stage
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.words.again import arrival, not_begun, sameness

_TOPICS = frozenset({Topic.SESSION, Topic.ENGINE, Topic.POSITION})
_SLICE_SECS = 0.012


class ScriptAgain(QObject):
    """One for the window."""

    def __init__(self, controller: Controller, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(0)
        self._rest.timeout.connect(self._tell)
        controller.refreshed.connect(self._on_refreshed)

    def start(self, step: int, in_backward: bool = False) -> None:
        """End the script, and run it from its beginning to before that step, or to where the step's backward is done.

        Nothing happens where that cannot be now.
        """
        controller, state = self._controller, self._controller.state
        if state.again_refusal() is None:
            state.again.begin(step, in_backward=in_backward)
            controller.reset()
            controller.flush()

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        state = self._controller.state
        again, position = state.again, state.position
        if not topics & _TOPICS or again.stage is Stage.NONE or state.snapshot is not None:
            return
        if again.stage is Stage.WAITING:
            if state.opening is None and state.awaited is None:
                again.end()
                self._say(not_begun(), is_warning=True)
        elif position.running:
            return
        elif again.has_to_go_on:
            again.stage = Stage.RUNNING
            self._controller.run_to(again.place)
        elif not self._rest.isActive():
            self._rest.start()

    @Slot()
    def _tell(self) -> None:
        """A little at a time, so that the window goes on meanwhile."""
        state = self._controller.state
        again, parting, position = state.again, state.again.parting, state.position
        if again.stage not in (Stage.BEGUN, Stage.RUNNING) or parting is None or position.running:
            # Something else is open, or it goes on: the rest is told when it stands.
            return
        if not parting.is_done:
            parting.go_on(time.monotonic() + _SLICE_SECS)
        if not parting.is_done:
            self._rest.start()
            return
        has_ended = position.rest in (Rest.EMPTY, Rest.ENDED)
        again.end()
        is_there = position.step >= again.step
        self._say(arrival(step=again.step, now=position.step, has_ended=has_ended), is_warning=not is_there)
        if same := sameness(parting):
            self._say(same, is_warning=parting.found is not None)

    # ------------------------------------------------------------------------------------------ private

    def _say(self, sentence: str, *, is_warning: bool) -> None:
        state = self._controller.state
        state.log.say(sentence, is_warning=is_warning)
        state.touch(Topic.LOG, Topic.TIMELINE)
        self._controller.flush()
