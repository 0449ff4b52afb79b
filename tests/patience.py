"""How long tests wait for what is to happen, in one place; and what becomes of a test that runs out of time.

Every limit is one for a machine at rest, and is multiplied here for one that is slow or busy: on a machine at rest nobody
waits for it. GRADSCOPE_TEST_PATIENCE says by how much.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from types import FrameType
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

FACTOR = float(os.environ.get("GRADSCOPE_TEST_PATIENCE", "6"))
_TICK_SECS = 0.05
_TICKS_FOR_LOOPS = 40
"""So long Qt's loops may take to come to an end; then whatever runs inside of them is left."""


def patient(limit: float) -> float:
    """What a limit for a machine at rest is here, in the same unit."""
    return FACTOR * limit


class PatientBot(QtBot):
    """Its limits are for a machine at rest, like all others, and a test that has run out of time waits for nothing more."""

    def wait(self, ms: int) -> None:
        super().wait(ms)
        if Deadline.current is not None:
            Deadline.current.check()

    def waitUntil(self, callback: Callable[[], object], *, timeout: int = 5000) -> None:
        super().waitUntil(callback, timeout=round(patient(timeout)))

    def waitSignal(self, signal: Any, *, timeout: int = 5000, **options: Any) -> Any:
        return super().waitSignal(signal, timeout=round(patient(timeout)), **options)

    def waitSignals(self, signals: Any, *, timeout: int = 5000, **options: Any) -> Any:
        return super().waitSignals(signals, timeout=round(patient(timeout)), **options)


class Deadline:
    """Fails what runs inside a `with` of it when that takes longer, and nothing else.

    An exception in what Qt has called is swallowed by PySide, and ends no loop of Qt's. So the loops are ended first, and
    the test is failed when it is out of them. It is counted in a thread of its own, and raised in the main thread.
    """

    current: "Deadline | None" = None

    def __init__(self, secs: float) -> None:
        self._secs = secs
        self._is_late = self._is_open = False
        self._ticks = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="deadline", daemon=True)

    def __enter__(self) -> None:
        self._before: Any = signal.signal(signal.SIGALRM, self._on_tick)
        Deadline.current = self
        self._is_open = True
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # From here on pytest is at work, and would not survive it.
        self._is_open = False
        self._over.set()
        self._thread.join()
        signal.signal(signal.SIGALRM, self._before)
        Deadline.current = None
        if self._is_late:
            _forget_exit()
            if kind is None:
                self._fail()

    def check(self) -> None:
        """Fail now if it is over and this is no place inside of a loop of Qt's."""
        if self._is_open and self._is_late and (not _is_in_loop() or self._ticks > _TICKS_FOR_LOOPS):
            self._ticks = 0
            self._fail()

    def _fail(self) -> None:
        pytest.fail(f"Timeout: it has run for more than {self._secs:g} s")

    def _watch(self) -> None:
        if self._over.wait(self._secs):
            return
        self._is_late = True
        while not self._over.wait(_TICK_SECS):
            self._ticks += 1
            # A loop in which no Python runs would not come to a handler.
            _end_loops()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    def _on_tick(self, _number: int, _frame: FrameType | None) -> None:
        self.check()


@pytest.hookimpl
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool | None:
    """pytest-timeout asks. It would raise in the middle of Qt's loops or of pytest's own work, or end the whole process."""
    if not hasattr(signal, "pthread_kill"):
        return None
    item.stash[_LIMIT_SECS] = settings.timeout
    return True


@pytest.hookimpl
def pytest_timeout_cancel_timer(item: pytest.Item) -> bool | None:
    return True if _LIMIT_SECS in item.stash else None


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    with _deadline(item):
        return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    with _deadline(item):
        return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    with _deadline(item):
        return (yield)


_LIMIT_SECS = pytest.StashKey[float]()


def _deadline(item: pytest.Item) -> AbstractContextManager[None]:
    limit = item.stash.get(_LIMIT_SECS, None)
    return Deadline(limit) if limit else nullcontext()


def _application() -> Any:
    core = sys.modules.get("PySide6.QtCore")
    return None if core is None else core.QCoreApplication.instance()


def _is_in_loop() -> bool:
    application = _application()
    return application is not None and application.thread().loopLevel() > 0


def _end_loops() -> None:
    application = _application()
    if application is not None:
        application.exit(1)


def _forget_exit() -> None:
    """No loop would begin any more in which the next test waits."""
    application = _application()
    if application is not None and not _is_in_loop():
        sys.modules["PySide6.QtCore"].QTimer.singleShot(0, lambda: application.exit(0))
        application.exec()
