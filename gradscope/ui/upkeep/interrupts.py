"""Ctrl+C in the terminal, and a polite kill: the window closes at once. App process, GUI thread."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from types import FrameType

from PySide6.QtCore import QObject, QSocketNotifier, Slot


class Interrupts(QObject):
    """Calls `quit_app` on SIGINT and SIGTERM.

    Python's signal handlers run between two bytecodes, which may be never while Qt's event loop waits. So the signal
    also writes into a socket that wakes the loop up.
    """

    def __init__(self, quit_app: Callable[[], None], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._quit_app = quit_app
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._notifier = QSocketNotifier(self._reader.fileno(), QSocketNotifier.Type.Read, self)
        self._notifier.activated.connect(self._on_woken)
        self._signals = [signal.SIGINT, signal.SIGTERM]
        self._earlier_handlers = {number: signal.signal(number, self._handle) for number in self._signals}
        self._earlier_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def restore(self) -> None:
        """Let signals do what they did before."""
        self._notifier.setEnabled(False)
        signal.set_wakeup_fd(self._earlier_fd)
        for number, handler in self._earlier_handlers.items():
            signal.signal(number, handler)
        self._reader.close()
        self._writer.close()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        # A second Ctrl+C is not waited for.
        signal.signal(number, signal.SIG_DFL)
        self._quit_app()

    @Slot()
    def _on_woken(self) -> None:
        # Reading is enough: now that Python runs, it calls the handler.
        self._reader.recv(64)
