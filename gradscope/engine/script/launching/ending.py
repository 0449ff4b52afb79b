"""How a script has ended; and the ends that no exception tells of."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class ScriptEnd:
    code: int
    """Its exit code."""
    error: BaseException | None = None
    """The exception that nobody has caught; None also for `sys.exit`."""
    left_out: tuple[str, ...] = ()
    """Lines of a notebook that are not Python."""
    words: str | None = None
    """What `sys.exit("...")` was given."""


def end_of(error: BaseException) -> ScriptEnd:
    """As Python ends where this is raised by the main program."""
    if not isinstance(error, SystemExit):
        return ScriptEnd(130 if isinstance(error, KeyboardInterrupt) else 1, error)
    code = error.code
    if code is None or isinstance(code, int):
        return ScriptEnd(0 if code is None else code & 0xFF)
    return ScriptEnd(1, words=str(code))


@contextlib.contextmanager
def exits_told(work: Callable[[int], None]) -> Iterator[None]:
    """Inside, `os._exit` in the main thread of this process does the work first, with the exit code. Children end as ever:
    multiprocessing's do so by `os._exit`."""
    leave, own = os._exit, os.getpid()

    def _exit(status: int) -> None:
        if os.getpid() == own and threading.current_thread() is threading.main_thread():
            os._exit = leave
            try:
                work(status)
            finally:
                leave(status)
        leave(status)

    os._exit = _exit  # type: ignore[assignment]
    try:
        yield
    finally:
        if os._exit is _exit:
            os._exit = leave


def leave_now(code: int) -> None:
    """End the process from anywhere in it: what was registered with atexit is done, and what was printed is written."""
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
