"""Looks a stop up in what is recorded, a little at a time, so that the window goes on meanwhile. Nothing is run."""

from __future__ import annotations

import time
from collections.abc import Iterator

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from gradscope.protocol.failure import BadInput
from gradscope.protocol.stops.evaluation import kinds_of
from gradscope.protocol.stops.recheck import MOST_FOUND, Found, found_in
from gradscope.protocol.stops.tree import Stop
from gradscope.state.history import History
from gradscope.state.records.stops_recheck import RecordedStep, recorded_steps

_SLICE_SECS = 0.012


class Rechecker(QObject):
    """One look-up at a time: another one gives up that before."""

    changed = Signal()
    """It has come further, has ended, or was refused."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.stop: Stop | None = None
        self.found: list[Found] = []
        self.steps = 0
        """How many recorded steps have been looked at."""
        self.last_step: int | None = None
        self.is_thinned = False
        """Several steps share a column of the history: of each, only the newest can be looked at."""
        self.refusal = ""
        """Why what is recorded does not tell of it."""
        self._waiting: Iterator[RecordedStep] = iter(())
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._go_on)

    @property
    def is_running(self) -> bool:
        return self._timer.isActive()

    @property
    def has_all(self) -> bool:
        """False where more was found than is kept."""
        return len(self.found) < MOST_FOUND

    @property
    def held_steps(self) -> list[int]:
        return list(dict.fromkeys(step for step, _, _ in self.found))

    def told(self, *, listed: int = 0) -> str:
        """What has come of it, in a sentence; with the first so many steps."""
        if self.refusal or self.stop is None:
            return self.refusal
        if self.steps == 0:
            return "" if self.is_running else self.tr("No step is recorded yet: make some, then look again")
        held = self.held_steps
        if not held:
            text = self.tr("Has not held in any of %1 recorded steps")
            return text.replace("%1", f"{self.steps:,}") + self._reservations()
        text = self.tr("Has held in %2 of %1 recorded steps").replace("%1", f"{self.steps:,}")
        text = text.replace("%2", f"{len(held):,}")
        if listed:
            steps = ", ".join(map(str, held[:listed]))
            text += f": {steps}" + (" …" if len(held) > listed else "")
        return text + self._reservations()

    def _reservations(self) -> str:
        if self.is_running:
            return self.tr(" so far")
        if not self.has_all:
            return self.tr(", and there is more than could be listed")
        thinned = self.tr("; of steps that are kept together, the newest was looked at")
        return thinned if self.is_thinned else ""

    def start(self, stop: Stop, history: History) -> None:
        self.give_up()
        self.stop = stop
        try:
            self._waiting = recorded_steps(stop, history)
        except BadInput as error:
            self.refusal = error.failure.sentence
        else:
            kinds = frozenset() if stop.condition is None else kinds_of(stop.condition)
            self.is_thinned = any(history.blocks[kind].is_merged for kind in kinds)
            self._timer.start()
        self.changed.emit()

    def give_up(self) -> None:
        """Nothing is looked for any more, and nothing was found."""
        self._timer.stop()
        self.stop, self.found, self.steps, self.last_step = None, [], 0, None
        self.is_thinned, self.refusal, self._waiting = False, "", iter(())

    @Slot()
    def _go_on(self) -> None:
        stop, until = self.stop, time.monotonic() + _SLICE_SECS
        while stop is not None and self.has_all and time.monotonic() < until:
            lookup = next(self._waiting, None)
            if lookup is None:
                break
            self.steps += 1
            self.last_step = lookup.step
            self.found += found_in(stop, lookup)
        else:
            if stop is not None and self.has_all:
                self.changed.emit()
                return
        self._timer.stop()
        del self.found[MOST_FOUND:]
        self.changed.emit()
