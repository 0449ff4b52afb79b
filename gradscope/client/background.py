"""Work that must not hold up the window, done one piece after the other in a thread of its own: reading files."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from PySide6.QtCore import QObject, Qt, Signal, Slot

_T = TypeVar("_T")


class Background(QObject):
    """Owns one thread, which is started when it is first needed. Results come back on the GUI thread, in order."""

    _finished = Signal(object)
    """Future. Emitted in the other thread, taken in this one."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="gradscope-background")
        self._waiting: dict[Future[Any], Callable[[Any], None]] = {}
        # Queued also where the work was done at once: results keep their order.
        self._finished.connect(self._on_finished, Qt.ConnectionType.QueuedConnection)

    def run(self, work: Callable[[], _T], on_done: Callable[[_T], None]) -> None:
        """Call `work` there, then `on_done` with its result here. An exception in `work` is raised here."""
        future = self._executor.submit(work)
        self._waiting[future] = on_done
        future.add_done_callback(self._finished.emit)

    def shut_down(self) -> None:
        """What has not begun is given up; what has is waited for, and nobody hears of it. Call it before the app ends."""
        self._waiting.clear()
        self._executor.shutdown(wait=True, cancel_futures=True)

    @Slot(object)
    def _on_finished(self, future: Future[Any]) -> None:
        on_done = self._waiting.pop(future, None)
        if on_done is not None and not future.cancelled():
            on_done(future.result())
