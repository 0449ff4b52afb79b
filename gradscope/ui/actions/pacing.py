"""When the views are told what has changed: soon, not too often, and less often where redrawing is slow."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer, Slot

from gradscope.state.app_state import AppState
from gradscope.state.topics import Topic
from gradscope.ui.actions.refreshes import Refreshes

REFRESH_INTERVAL_MS = 33
"""At most 30 redraws a second."""
SPARE_FACTOR = 4
"""After a redraw, so many times its duration is left to everything else (painting is not in that duration)."""
SLOWEST_INTERVAL_MS = 300


class Pacing(QObject):
    """`wake` when something has changed in the state that is shown, which `state` gives."""

    def __init__(self, state: Callable[[], AppState], parent: QObject) -> None:
        super().__init__(parent)
        self._state = state
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REFRESH_INTERVAL_MS)
        self._timer.timeout.connect(self._on_due)
        self.refreshed = Refreshes(self, self._on_refreshed)
        """set[Topic]: what has changed since the last time; at most 30 times a second."""
        self.panels_refreshed = Refreshes(self, self._on_panels_refreshed)
        """The same for the panels around the plots, after everything else."""
        self._late: set[Topic] = set()
        self._spent_secs = 0.0

    def wake(self) -> None:
        """Views will be told, if they are not about to be."""
        if not self._timer.isActive():
            self._timer.start()

    def flush(self) -> None:
        """Tell all views now."""
        self._on_due()
        self.refreshed.finish()
        self.panels_refreshed.finish()

    @Slot()
    def _on_due(self) -> None:
        self._timer.stop()
        changed = self._state().take_changes()
        if changed:
            self._late |= changed
            self.refreshed.emit(changed)

    def _on_refreshed(self, spent_secs: float) -> None:
        self._spent_secs += spent_secs
        late, self._late = self._late, set()
        self.panels_refreshed.emit(late)

    def _on_panels_refreshed(self, spent_secs: float) -> None:
        # Where redrawing is slow, it is done less often: the window has to answer, and the engine needs the processor.
        spent_ms = int(1000 * (self._spent_secs + spent_secs))
        self._spent_secs = 0.0
        self._timer.setInterval(min(max(REFRESH_INTERVAL_MS, SPARE_FACTOR * spent_ms), SLOWEST_INTERVAL_MS))
