"""Our own bugs: an exception that nobody has caught is told in a dialog, with a report that can be copied."""

from __future__ import annotations

import platform
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType

import PySide6
from PySide6.QtCore import QObject, Qt, Signal, Slot
from PySide6.QtWidgets import QWidget

from gradscope.ui.dialogs.error_report import ErrorReportDialog
from gradscope.version import __version__

_MAX_REPORTS = 10
"""In one dialog."""
QUIET_SECS = 30.0
"""A bug in a paint event happens sixty times a second, and is told once: again when it has not happened for so long."""


class ErrorReporter(QObject):
    """Takes over `sys.excepthook`; `window` is asked for the dialog's parent when it is needed."""

    _arrived = Signal(str)

    def __init__(self, window: Callable[[], QWidget | None], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._window = window
        self._dialog: ErrorReportDialog | None = None
        self._told = 0
        self._last_seen: dict[tuple[object, ...], float] = {}
        """When a bug has last happened, by its kind and the lines that led to it."""
        # Queued: also an exception in a thread, or in a paint event, is told from the event loop.
        self._arrived.connect(self._on_arrived, Qt.ConnectionType.QueuedConnection)

    def install(self) -> None:
        sys.excepthook = self._on_exception
        threading.excepthook = self._on_thread_exception

    def uninstall(self) -> None:
        sys.excepthook = sys.__excepthook__
        threading.excepthook = threading.__excepthook__

    def show_last_crash(self, report: str) -> None:
        """The last start ended in a crash: say so."""
        self._show(
            self.tr("The last session crashed"),
            self.tr(
                "gradscope ended unexpectedly the last time. This report says where; please add it to a bug report."
            ),
            f"{environment()}\n\n{report}",
        )

    def _on_exception(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        elif self._is_news(kind, trace):
            sys.__excepthook__(kind, error, trace)
            self._arrived.emit("".join(traceback.format_exception(kind, error, trace)))

    def _on_thread_exception(self, arguments: threading.ExceptHookArgs) -> None:
        error = arguments.exc_value
        if error is None or self._is_news(type(error), error.__traceback__):
            threading.__excepthook__(arguments)
            if error is not None:
                self._arrived.emit("".join(traceback.format_exception(error)))

    def _is_news(self, kind: type[BaseException], trace: TracebackType | None) -> bool:
        bug = (kind, *((frame.f_code, line) for frame, line in traceback.walk_tb(trace)))
        now = time.monotonic()
        earlier = self._last_seen.get(bug)
        self._last_seen[bug] = now
        return earlier is None or now - earlier > QUIET_SECS

    @Slot(str)
    def _on_arrived(self, text: str) -> None:
        self._told += 1
        if self._told > _MAX_REPORTS:
            return
        if self._dialog is not None:
            self._dialog.add(text)
            return
        self._show(
            self.tr("gradscope has a bug"),
            self.tr(
                "Something in gradscope itself failed. Your session goes on; please add this report to a bug report."
            ),
            f"{environment()}\n\n{text}",
        )

    @Slot()
    def _on_closed(self) -> None:
        self._dialog = None
        self._told = 0

    def _show(self, title: str, explanation: str, report: str) -> None:
        self._dialog = ErrorReportDialog(title, explanation, report, self._window())
        self._dialog.finished.connect(self._on_closed)
        self._dialog.open()


def environment() -> str:
    """The versions that a bug report needs."""
    return (
        f"gradscope {__version__}, Python {platform.python_version()}, PySide6 {PySide6.__version__}, "
        f"{platform.platform()}"
    )
