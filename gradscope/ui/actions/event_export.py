"""Writes TensorBoard's event files in a thread of its own; its signals come on the GUI thread."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from gradscope.protocol.failure import BadInput
from gradscope.state.records.event_export import Cancelled, EventSource, write_events

_PROGRESS_INTERVAL_SECS = 0.05


class EventExport(QObject):
    """One export; `start` it once."""

    progressed = Signal(float)
    """The share that is done, from 0 to 1."""
    finished = Signal(str, int)
    """Path of the file, and its size in bytes."""
    failed = Signal(str)
    """One sentence; nothing is left behind."""
    cancelled = Signal()
    """Nothing is left behind."""

    def __init__(self, source: EventSource, folder: Path) -> None:
        super().__init__()
        self._source = source
        self._folder = folder
        self._is_wanted = True
        self._told_at = 0.0
        self._thread = threading.Thread(target=self._run, name="event export", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def cancel(self) -> None:
        """Break it off as soon as may be; `cancelled` comes when it is (or `finished`, if it was done already)."""
        self._is_wanted = False

    def wait(self) -> None:
        """Until the thread has ended."""
        self._thread.join()

    def _run(self) -> None:
        try:
            path, size = write_events(self._source, self._folder, go_on=self._go_on)
        except Cancelled:
            self.cancelled.emit()
        except BadInput as error:
            self.failed.emit(str(error))
        except Exception as error:
            # Nobody would hear of it otherwise: it is not the GUI's thread.
            self.failed.emit(f"The event files could not be written: {type(error).__name__}: {error}")
        else:
            self.finished.emit(str(path), size)

    def _go_on(self, share: float) -> bool:
        now = time.monotonic()
        if now - self._told_at >= _PROGRESS_INTERVAL_SECS:
            self._told_at = now
            self.progressed.emit(share)
        return self._is_wanted
