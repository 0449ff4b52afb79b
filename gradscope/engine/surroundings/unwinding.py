"""Leaving a phase from inside, because a person wants it; and what only looks so."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Looked up now: the user's code may put something else in their places.
_current_handler, _set_handler = signal.getsignal, signal.signal
_NOBODY = (signal.SIG_IGN, signal.SIG_DFL)


class Unwind(BaseException):
    """Raised at a moment, or by a signal, to leave a phase: somebody asked for a reset, another recipe, or an interruption.

    Not an Exception, so that the user's `except Exception` does not swallow it.
    """


class CtrlC(KeyboardInterrupt):
    """A person has pressed Ctrl+C, where gradscope listens for it."""


def is_interruption(error: BaseException) -> bool:
    """Whether a person has asked for this.

    Where gradscope itself listens for SIGINT, that raises Unwind or CtrlC: any other KeyboardInterrupt was raised by the
    user's code, and is a failure of theirs. So it is where SIGINT is ignored, as in a shell's background. In a script of
    theirs, Python's own handler raises it.
    """
    if type(error) in (Unwind, CtrlC):
        return True
    handler = _current_handler(signal.SIGINT)
    return issubclass(type(error), KeyboardInterrupt) and handler not in _NOBODY and not _is_ours(handler)


@contextmanager
def ctrl_c_told_apart() -> Iterator[None]:
    """Inside, Ctrl+C raises CtrlC. Another handler than Python's own stays: somebody has put it there."""
    before = _current_handler(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield
        return
    with _answered_by(_raise_ctrl_c, before):
        yield


@contextmanager
def interruptible_by_signal(is_allowed: Callable[[], bool]) -> Iterator[None]:
    """Inside, SIGINT raises Unwind where that is allowed, and does nothing elsewhere, whoever listens for it otherwise."""
    before = _current_handler(signal.SIGINT)
    if before is None:
        # Somebody's who is not Python: it could not be put back.
        yield
        return

    def handle(signum: int, frame: FrameType | None) -> None:
        if is_allowed():
            raise Unwind("interrupted")

    with _answered_by(handle, before):
        yield


@contextmanager
def interruptions_put_off() -> Iterator[None]:
    """Inside, SIGINT waits: what is half put back would stay so. Afterwards it does what it would have done."""
    before, came = _current_handler(signal.SIGINT), list[tuple[int, FrameType | None]]()
    if not callable(before):
        yield
        return
    try:
        with _answered_by(lambda number, frame: came.append((number, frame)), before):
            yield
    finally:
        if came:
            before(*came[0])


@contextmanager
def _answered_by(handler: Callable[[int, FrameType | None], None], before: Any) -> Iterator[None]:
    """Inside, SIGINT calls this handler, afterwards the one before. Nothing changes but in the main thread, which alone is
    interrupted."""
    try:
        _set_handler(signal.SIGINT, handler)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        _set_handler(signal.SIGINT, before)


def _raise_ctrl_c(signum: int, frame: FrameType | None) -> None:
    raise CtrlC


def _is_ours(handler: Any) -> bool:
    return str(getattr(handler, "__module__", "")).startswith("gradscope.")
