"""Comparing what is shown with a snapshot: reads it, asks for the differences bit by bit, and can be cancelled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from PySide6.QtCore import QObject, Signal, Slot

from gradscope.client.snapshot_source import Reopened, reopen
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import Differences, FetchDifferencePicture, FetchDifferences
from gradscope.snapshots.format.reading import Reading
from gradscope.state.comparison import Comparison
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.widgets.redraw import owing


class Comparer(QObject):
    """At most one comparison. `changed` is emitted whenever there is something new to see of it."""

    changed = Signal()
    started = Signal()
    """There are two sides to look at now."""

    def __init__(self, controller: Controller, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.comparison: Comparison | None = None
        self.is_busy = False
        """Reading, or comparing."""
        self._path = ""
        controller.refreshed.connect(self._on_refreshed)

    @property
    def path(self) -> str:
        """The snapshot that is compared with."""
        return self.comparison.path if self.comparison is not None else ""

    @Slot(str)
    def start(self, path: str) -> None:
        """Compare what is shown with the snapshot at this path. One that cannot be read is told in the failure bar."""
        self._path, self.is_busy = path, True
        self._controller.background.run(partial(reopen, path, Reading()), partial(self._on_read, path))
        self.changed.emit()

    @Slot()
    def again(self) -> None:
        """The same with what is shown now."""
        if self.path or self._path:
            self.start(self.path or self._path)

    @Slot()
    def cancel(self) -> None:
        """Leave it at what has been compared."""
        self.is_busy = False
        self.changed.emit()

    @Slot()
    def close(self) -> None:
        self.comparison, self.is_busy, self._path = None, False, ""
        self.changed.emit()

    def fetch(self, message: FetchDifferencePicture, on_reply: Callable[[Any], None]) -> None:
        self._controller.fetch(message, on_reply)

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        comparison = self.comparison
        if comparison is None or comparison.is_stale or not topics & {Topic.SESSION, Topic.POSITION, Topic.ENGINE}:
            return
        if not comparison.is_of(self._controller.state):
            comparison.is_stale = True
            self.is_busy = False
            self.changed.emit()

    def _on_read(self, path: str, reopened: Reopened | BadInput) -> None:
        if path != self._path or not self.is_busy:
            return
        if isinstance(reopened, BadInput):
            self.is_busy = False
            self._controller.tell(reopened.failure)
            self.changed.emit()
            return
        self.comparison = Comparison(self._controller.state, reopened.state)
        self.started.emit()
        self._go_on(self.comparison)

    def _go_on(self, comparison: Comparison) -> None:
        batch = comparison.next_batch() if self.is_busy else ()
        if batch:
            request = FetchDifferences(path=comparison.path, subjects=batch)
            self._controller.fetch(request, partial(self._on_reply, comparison))
        else:
            self.is_busy = False
        self.changed.emit()

    def _on_reply(self, comparison: Comparison, reply: object) -> None:
        if comparison is not self.comparison or comparison.is_stale:
            return
        if not comparison.is_of(self._controller.state):
            # Asked of one moment, answered at another.
            comparison.is_stale = True
            self.is_busy = False
        elif isinstance(reply, Differences):
            comparison.add(reply.items)
        else:
            self.is_busy = False
        self._go_on(comparison)
