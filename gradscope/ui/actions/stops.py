"""What a person does about stops: add one, change it, turn it off, remove it; run to a place without keeping one there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from PySide6.QtCore import QObject, Signal, Slot

from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages.stops import SetStops
from gradscope.protocol.phases import RunUntil
from gradscope.protocol.stops.parsing import parse
from gradscope.protocol.stops.point import MAX_STOPS, StopPoint
from gradscope.state.stops import StopsState, Wanted
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.dismissals import file_of
from gradscope.ui.actions.stop_memory import StopMemory
from gradscope.ui.widgets.redraw import owing


class Stops(QObject):
    """One for the window. The engine hears of every change, and of all stops when a session is opened."""

    dialog_wanted = Signal(object, object)
    """Wanted, and the number of the stop that it is to become, or None for a new one: a person is to say more."""
    added = Signal(int)
    """The number of a stop that a person has added, or turned on again."""

    def __init__(self, controller: Controller, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._memory = StopMemory(controller.settings)
        self._recall()
        controller.refreshed.connect(self._on_refreshed)

    @property
    def known(self) -> StopsState:
        return self._controller.state.stops

    # ------------------------------------------------------------------------------------------ public

    def refusal(self) -> str | None:
        """Why there can be no stops now; None if there can."""
        state = self._controller.state
        if state.session is None:
            return self.tr("Open a script or a recipe first")
        return None if state.snapshot is None else self.tr("This is a snapshot: it cannot be trained")

    def add(self, text: str, *, every: int = 1) -> None:
        """Stop there from now on. The text has been parsed."""
        if self.refusal() is None:
            point = self.known.add(Wanted(text=text, every=every))
            if point is None:
                told = self.tr("There are %1 stops already, and there may be no more: remove some first")
                self._controller.state.log.say(told.replace("%1", str(MAX_STOPS)), is_warning=True)
                self._controller.state.touch(Topic.LOG)
            self._changed()
            if point is not None:
                self.added.emit(point.id)

    def change(self, number: int, wanted: Wanted) -> None:
        self.known.change(number, wanted)
        self._changed()

    def toggle(self, text: str) -> None:
        """Remove the stop with this text, or add one: a click into the margin of the source."""
        point = self.known.of_text(text)
        if point is None:
            self.add(text)
        else:
            self.remove([point.id])

    def enable(self, numbers: Iterable[int], is_enabled: bool) -> None:
        self.known.enable(numbers, is_enabled)
        self._changed()

    def enable_all(self, is_enabled: bool) -> None:
        self.enable([point.id for point in self.known.points], is_enabled)

    def remove(self, numbers: Iterable[int]) -> None:
        self.known.remove(numbers)
        self._changed()

    @Slot()
    def remove_all(self) -> None:
        self.remove([point.id for point in self.known.points])

    def run_refusal(self) -> str | None:
        """Why one cannot run to a place now; None if one can."""
        return self._controller.state.run_refusal(RunUntil.PAUSED)

    def run_to(self, place: str) -> None:
        """Run until training comes to a place, as the language of stops names it; nothing is kept there."""
        self._controller.run_to(place)

    def ask(self, wanted: Wanted, number: int | None = None) -> None:
        """Have a dialog ask for more, which begins with this."""
        self.dialog_wanted.emit(wanted, number)

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if Topic.SESSION in topics:
            self._recall()

    # ------------------------------------------------------------------------------------------ private

    def _recall(self) -> None:
        state = self._controller.state
        if self.known.replace_all(self._memory.recall(file_of(state.session))):
            state.touch(Topic.STOPS)
        if self.known.points:
            # An engine that has just opened a session knows of none.
            self._send()

    def _changed(self) -> None:
        state = self._controller.state
        self._memory.remember(file_of(state.session), self.known.as_wanted())
        state.touch(Topic.STOPS)
        self._send()
        self._controller.flush()

    def _send(self) -> None:
        if self._controller.state.snapshot is None:
            stops = tuple(point for point in self.known.points if problem_of(point) is None)
            self._controller.ask(SetStops(stops=stops), _ignore)


def problem_of(point: StopPoint) -> str | None:
    """Why its text is none that training could stop at, as one that was kept by another version may be; None if it is."""
    try:
        parse(point.text)
    except BadInput as error:
        return error.failure.sentence
    return None


def _ignore(_reply: Any) -> None:
    """What is refused is told as every failure is."""
