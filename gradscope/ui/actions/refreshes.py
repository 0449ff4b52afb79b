"""Tells the views what has changed, a few in each turn of the event loop: the window answers in between.

App process, GUI thread.
"""

from __future__ import annotations

import inspect
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable

import shiboken6
from PySide6.QtCore import QObject, QTimer

from gradscope.state.topics import Topic

TURN_SECS = 0.004
"""How long views are told in one turn; one is told in each, however long it takes."""
Told = Callable[[set[Topic]], object]


class Refreshes:
    """Like a signal of topics, whose slots are called one after the other, in the order in which they were connected.

    What a view has not been told yet when there is more to tell, it is told together. A view that fails, which is reported,
    keeps none from being told.
    """

    def __init__(self, parent: QObject, on_finished: Callable[[float], None]) -> None:
        """`on_finished` is called when every view has been told, with the seconds that they have taken all together."""
        self._on_finished = on_finished
        self._views: list[_View] = []
        self._waiting: deque[_View] = deque()
        self._spent_secs = 0.0
        self._timer = QTimer(parent)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._on_turn)

    def connect(self, slot: Told) -> None:
        """A bound method is called as long as its object lives; anything else as long as this does."""
        self._views.append(_View(slot))

    def emit(self, topics: set[Topic]) -> None:
        """Have every view told, beginning with the next turn."""
        self._views = [view for view in self._views if view.slot() is not None]
        for view in self._views:
            if not view.topics:
                self._waiting.append(view)
            view.topics |= topics
        self._timer.start()

    def finish(self) -> None:
        """Tell all that are still to be told, now."""
        if self._timer.isActive():
            self._tell(until=None)

    def _on_turn(self) -> None:
        self._tell(until=time.perf_counter() + TURN_SECS)

    def _tell(self, *, until: float | None) -> None:
        started = time.perf_counter()
        while self._waiting:
            self._waiting.popleft().tell()
            if until is not None and time.perf_counter() > until:
                break
        self._spent_secs += time.perf_counter() - started
        if self._waiting:
            self._timer.start()
            return
        self._timer.stop()
        spent, self._spent_secs = self._spent_secs, 0.0
        self._on_finished(spent)


class _View:
    """Who is to be told, and of what."""

    def __init__(self, slot: Told) -> None:
        self.topics: set[Topic] = set()
        self._slot: Callable[[], Told | None] = weakref.WeakMethod(slot) if inspect.ismethod(slot) else lambda: slot

    def slot(self) -> Told | None:
        """None once the view is gone."""
        slot = self._slot()
        owner = getattr(slot, "__self__", None)
        return None if isinstance(owner, QObject) and not shiboken6.isValid(owner) else slot

    def tell(self) -> None:
        topics, self.topics = self.topics, set()
        slot = self.slot()
        if slot is None:
            return
        try:
            slot(topics)
        except Exception as error:
            # As Qt does with what a slot raises.
            sys.excepthook(type(error), error, error.__traceback__)
