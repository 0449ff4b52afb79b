"""The engine's writer thread: the training never waits for the app.

Messages are encoded and sent in order. Where the app lags, the reports that wait are sent together (`protocol.stacks`), which
takes it a fraction of the time: it is never far behind, and misses no step. Of the places that a running session comes
through, only some are sent, and always the last. What there is no room for in memory waits in a file; only what there is no
room for there either is left out, oldest reports first, and counted.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from gradscope.engine.serving.spill import Spill
from gradscope.protocol.codec import ProtocolError, encode
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.messages import Failed, InitialParameters, Moved, Note, Opened, Report, Reports, Skipped
from gradscope.protocol.phases import Position
from gradscope.protocol.stacks import stacked, without_histograms

MAX_LOOSE_REPORTS = 240
MAX_LOOSE_BYTES = 4 * 1024 * 1024
"""When more reports than that wait they are joined: it takes a few milliseconds, and little remains of them."""
MAX_WAITING_BYTES = 64 * 1024 * 1024
SEND_BUFFER_BYTES = 256 * 1024
"""What lies in the system's buffers is as it was put there: with little of it, it is soon noticed that the app lags."""
MOVED_INTERVAL_SECS = 0.05
_HEAD_BYTES = 1000
"""Of what a report tells beside its arrays, nearly."""
_RATE_BYTES = 32
"""Of a rate in memory."""
_Numbered = tuple[int, Any]


class Outbox:
    """Thread-safe. `put` returns at once."""

    def __init__(self, connection: socket.socket, on_failure: Callable[[BaseException], None]) -> None:
        """`on_failure` is called in the writer thread when nothing can be sent any more."""
        self._connection = connection
        self._on_failure = on_failure
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._spill = Spill()
        self._older: deque[bytes | int] = deque()
        """What is older than all in `_waiting`: a frame, or how many reports are in the next frame of the file."""
        self._waiting: deque[_Numbered] = deque()
        self._waiting_bytes = 0
        self._loose: list[_Numbered] = []
        """What is newer, and not joined yet."""
        self._reports = self._report_bytes = 0
        self._skipped = 0
        self._noted: set[str] = set()
        """What was said already of messages that are too much."""
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
            if hasattr(message, "position"):
                # Later than the place that waits.
                self._passing = None
            self._loose.append((number, message))
            if isinstance(message, Report):
                self._reports += 1
                self._report_bytes += _size(message)
                if self._reports > MAX_LOOSE_REPORTS or self._report_bytes > MAX_LOOSE_BYTES:
                    self._join()
                    self._make_room()
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

    def _encoded(self, message: Any, number: int) -> bytes:
        """Its frame, with a note behind it where something had to be left out; each is said once a session.

        Never raises: a request whose reply cannot be sent is answered with Failed, an event becomes a note.
        """
        if isinstance(message, Opened):
            self._noted.clear()
        try:
            return encode(message, number=number)
        except (ProtocolError, TypeError, ValueError) as error:
            told, reason = b"", str(error)
        name = _in_words(message)
        if isinstance(message, (Report, InitialParameters)):
            with contextlib.suppress(ProtocolError, TypeError, ValueError):
                told = encode(without_histograms(message))
        if told:
            what = f"{name} came without histograms"
            reason = f"{len(message.subjects):,} of them are too much for one message"
        else:
            what = f"{name} could not be sent to the app"
        text = f"{what}: {reason}"
        if number:
            failure = Failure(kind=FailureKind.OUR_BUG, sentence=text)
            return encode(Failed(failure=failure, position=getattr(message, "position", Position())), number=number)
        if what in self._noted:
            return told
        self._noted.add(what)
        return told + encode(Note(text=text, warning=True))

    def _join(self) -> None:
        """What is loose waits from now on."""
        for number, message in _joined(self._loose):
            self._waiting.append((number, message))
            self._waiting_bytes += _size(message)
        self._loose = []
        self._reports = self._report_bytes = 0

    def _make_room(self) -> None:
        """What is too much for memory goes into the file: only reports, because the app can do without one that is lost.

        All else is little, and stays in memory.
        """
        while self._waiting_bytes > MAX_WAITING_BYTES and len(self._waiting) > 1:
            number, message = self._waiting.popleft()
            self._waiting_bytes -= _size(message)
            frame, reports = self._encoded(message, number), _reports_in(message)
            if not reports:
                self._older.append(frame)
                continue
            try:
                self._spill.put(frame)
                self._older.append(reports)
            except OSError:
                self._skipped += reports

    def _run(self) -> None:
        try:
            self._write()
        except BaseException as error:
            self._on_failure(error)

    def _write(self) -> None:
        try:
            while (frames := self._next()) is not None:
                for frame in frames:
                    self._connection.sendall(frame)
        finally:
            with self._changed:
                self._is_closed = True
                self._spill.close()

    def _next(self) -> Iterator[bytes] | None:
        """Wait for the next messages; None when there will be no more."""
        with self._changed:
            while not (self._older or self._waiting or self._loose or self._is_closed or self._is_due()):
                self._changed.wait(self._secs_until_due())
            if self._older:
                oldest = self._older.popleft()
                if isinstance(oldest, bytes):
                    return iter([oldest])
                try:
                    return iter([self._spill.take()])
                except OSError:
                    self._skipped += oldest
                    return iter(())
            self._join()
            batch = list(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            if self._passing is not None and self._is_due():
                batch.append((0, self._passing))
                self._passing, self._passed_at = None, time.monotonic()
            if self._skipped:
                batch.append((0, Skipped(reports=self._skipped)))
                self._skipped = 0
        if not batch and self._is_closed:
            return None
        return (self._encoded(message, number) for number, message in batch)

    def _secs_until_due(self) -> float | None:
        if self._passing is None:
            return None
        return max(0.0, self._passed_at + MOVED_INTERVAL_SECS - time.monotonic())

    def _is_due(self) -> bool:
        return self._secs_until_due() == 0.0


def _joined(messages: list[_Numbered]) -> Iterator[_Numbered]:
    """Reports with nothing else between them together."""
    for is_report, run in groupby(messages, key=lambda numbered: isinstance(numbered[1], Report)):
        if is_report:
            yield from ((0, message) for message in stacked([report for _, report in run]))
        else:
            yield from run


def _reports_in(message: Any) -> int:
    return len(message.heads) if isinstance(message, Reports) else int(isinstance(message, Report))


def _size(message: Any) -> int:
    if isinstance(message, Report):
        rates = _RATE_BYTES * (len(message.lr) + len(message.momentum))
        return _HEAD_BYTES + message.summaries.nbytes + message.histograms.nbytes + rates
    if isinstance(message, Reports):
        rates = _RATE_BYTES * sum(len(head.lr) + len(head.momentum) for head in message.heads)
        return _HEAD_BYTES * len(message.heads) + rates + sum(stack.summaries.nbytes for stack in message.stacks)
    return _HEAD_BYTES


def _in_words(message: Any) -> str:
    """What kind of message it is."""
    if isinstance(message, Report):
        return f"The report of the {message.phase.value}"
    if isinstance(message, InitialParameters):
        return "The report of the parameters before the first step"
    return f"A {type(message).__name__}"
