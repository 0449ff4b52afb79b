"""The engine's writer thread: the training never waits for the app.

Messages are encoded and sent in order. When the app lags, the oldest live reports are left out and counted. Of the places
that a running session comes through, only some are sent, and always the last. Nothing else is ever left out.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from gradscope.protocol.codec import ProtocolError, encode
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.messages import Failed, Moved, Note, Report, Skipped
from gradscope.protocol.phases import Position

MAX_WAITING_REPORTS = 240
MAX_WAITING_BYTES = 64 * 1024 * 1024
MOVED_INTERVAL_SECS = 0.05


class Outbox:
    """Thread-safe. `put` returns at once."""

    def __init__(self, connection: socket.socket, on_failure: Callable[[BaseException], None]) -> None:
        """`on_failure` is called in the writer thread when nothing can be sent any more."""
        self._connection = connection
        self._on_failure = on_failure
        self._waiting: deque[tuple[int, Any]] = deque()
        self._reports = self._report_bytes = 0
        self._skipped = 0
        self._changed = threading.Condition()
        self._is_closed = False
        self._passing: Moved | None = None
        self._passed_at = 0.0
        self._thread = threading.Thread(target=self._run, name="gradscope-writer", daemon=True)
        self._thread.start()

    def put(self, message: Any, *, number: int = 0) -> None:
        with self._changed:
            if self._is_closed:
                return
            if isinstance(message, Report):
                self._reports += 1
                self._report_bytes += _size(message)
                while self._reports > 1 and (
                    self._reports > MAX_WAITING_REPORTS or self._report_bytes > MAX_WAITING_BYTES
                ):
                    self._leave_out_oldest()
            if hasattr(message, "position"):
                # Later than the place that waits.
                self._passing = None
            self._waiting.append((number, message))
            self._changed.notify()

    def pass_by(self, moved: Moved) -> None:
        """A place that a running session comes through. It is sent soon, also if the main thread never comes back here,
        unless it has come to the next one by then."""
        with self._changed:
            is_first, self._passing = self._passing is None, moved
            if is_first:
                self._changed.notify()

    def close(self, timeout_secs: float = 1.0) -> None:
        """Send what is waiting, then end the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(timeout_secs)

    def _leave_out_oldest(self) -> None:
        for i, (_, message) in enumerate(self._waiting):
            if isinstance(message, Report):
                del self._waiting[i]
                self._report_bytes -= _size(message)
                self._reports -= 1
                self._skipped += 1
                return

    def _run(self) -> None:
        try:
            self._write()
        except BaseException as error:
            self._on_failure(error)

    def _write(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._is_closed and not self._is_due():
                    self._changed.wait(self._secs_until_due())
                if not self._waiting and self._is_closed:
                    return
                batch = list(self._waiting)
                if self._passing is not None and self._is_due():
                    batch.append((0, self._passing))
                    self._passing, self._passed_at = None, time.monotonic()
                self._waiting.clear()
                self._reports = self._report_bytes = 0
                if self._skipped:
                    batch.append((0, Skipped(reports=self._skipped)))
                    self._skipped = 0
            for number, message in batch:
                self._connection.sendall(_encoded(message, number))

    def _secs_until_due(self) -> float | None:
        if self._passing is None:
            return None
        return max(0.0, self._passed_at + MOVED_INTERVAL_SECS - time.monotonic())

    def _is_due(self) -> bool:
        return self._secs_until_due() == 0.0


def _size(report: Report) -> int:
    return report.summaries.nbytes + report.histograms.nbytes


def _encoded(message: Any, number: int) -> bytes:
    """Never raises: a request whose reply cannot be sent is answered with Failed, an event becomes a note."""
    try:
        return encode(message, number=number)
    except (ProtocolError, TypeError, ValueError) as error:
        text = f"A {type(message).__name__} could not be sent to the app: {error}"
    if number == 0:
        return encode(Note(text=text, warning=True))
    failure = Failure(kind=FailureKind.OUR_BUG, sentence=text)
    return encode(Failed(failure=failure, position=getattr(message, "position", Position())), number=number)
