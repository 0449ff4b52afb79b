"""Python's garbage collection, moved to where it can do no harm. App process, GUI thread.

Left to itself, the cyclic collector runs at any allocation, also inside a Qt call that holds one of Qt's own locks
(connecting or disconnecting a signal). If it then finds a widget to destroy, the destructor waits for that lock for ever.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer, Slot

INTERVAL_MS = 200


class Collector(QObject):
    """While it runs, garbage is collected between two events and nowhere else."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        gc.disable()
        # What was imported stays: gone through again and again, it would take most of a full collection's time.
        gc.freeze()
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self._on_due)
        self._timer.start()

    def stop(self) -> None:
        """Leave it to Python again."""
        self._timer.stop()
        gc.unfreeze()
        gc.enable()

    @Slot()
    def _on_due(self) -> None:
        # The oldest generation that is due takes the younger ones with it, as Python's own trigger does.
        counts, thresholds = gc.get_count(), gc.get_threshold()
        for generation in (2, 1, 0):
            if counts[generation] > thresholds[generation]:
                gc.collect(generation)
                return
