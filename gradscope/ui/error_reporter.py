"""Our own bugs: an exception that nobody has caught is told in a dialog, with a report that can be copied."""

from __future__ import annotations

import platform
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType

import PySide6
from PySide6.QtCore import QObject, Qt, Signal, Slot
from PySide6.QtWidgets import QWidget

import gradscope
from gradscope.ui.dialogs.error_report import ErrorReportDialog

_MAX_REPORTS = 10
"""A bug in a paint event would fill the dialog without end."""


class ErrorReporter(QObject):
    """Takes over `sys.excepthook`; `window` is asked for the dialog's parent when it is needed."""

    _arrived = Signal(str)

    def __init__(self, window: Callable[[], QWidget | None], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._window = window
        self._dialog: ErrorReportDialog | None = None
        self._told = 0
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
        sys.__excepthook__(kind, error, trace)
        if not issubclass(kind, KeyboardInterrupt):
            self._arrived.emit("".join(traceback.format_exception(kind, error, trace)))

    def _on_thread_exception(self, arguments: threading.ExceptHookArgs) -> None:
        threading.__excepthook__(arguments)
        if arguments.exc_value is not None:
            self._arrived.emit("".join(traceback.format_exception(arguments.exc_value)))

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
        f"gradscope {gradscope.__version__}, Python {platform.python_version()}, PySide6 {PySide6.__version__}, "
        f"{platform.platform()}"
    )
