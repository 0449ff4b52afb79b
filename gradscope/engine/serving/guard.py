"""The guard: on Linux, a small process between the app and the engine. It ends what the engine has left behind.

Whatever the engine starts - with `setsid`, forked twice, with another environment - is handed to its nearest subreaper
when its parent ends. The guard is that subreaper: it sees its own children only, which keep their numbers until it has
reaped them, so nothing of anybody else's can be hit. The engine itself is no place for this: it may be killed, hold the
GIL for ever, or crash. When the app is gone, however that ended, the guard ends the engine and all the rest.

It is forked before numpy and torch are imported, and hands on how the engine ended as its own end.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from gradscope.engine.serving.last_words import EXIT_APP_GONE
from gradscope.protocol.last_place import LastPlace

PARENT_VARIABLE = "GRADSCOPE_PARENT_PID"
GUARD_VARIABLE = "GRADSCOPE_GUARD"
"""Set where the engine is wanted as a child of its guard."""
GRACE_SECS = 0.5
"""Between SIGTERM and SIGKILL for what the engine has left behind."""
GIVE_UP_SECS = 3.0
"""After that, what is left cannot be ended: it waits in the kernel, or belongs to somebody else."""
AT_ONCE = "SIGHUP"
"""Ends the engine and everything below it, without a grace. SIGINT and SIGTERM are passed on to the engine."""
NICENESS_VARIABLE = "GRADSCOPE_NICENESS"
NICENESS = 5
"""Of the engine's session, where processors are short: a third of the window's share, and of other sessions' too."""
_LOOK_SECS = 0.01
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36


def begin(last_place: LastPlace | None) -> None:
    """Returns in the process that is to be the engine: on Linux a child, and this process becomes its guard.

    In any case it has a session and a process group of its own. Where there can be no guard, the app ends that group, and
    what has left it stays.
    """
    parent, wanted = os.environ.pop(PARENT_VARIABLE, ""), os.environ.pop(GUARD_VARIABLE, "") == "1"
    guard = None
    if wanted and sys.platform == "linux" and _prctl(_PR_SET_CHILD_SUBREAPER, 1):
        # Before it leads a group: that is how the app knows that it listens.
        guard = _Guard(last_place)
    if hasattr(os, "setsid"):
        # Ctrl+C in the terminal is the app's. The engine and what it starts are in this group as well.
        with contextlib.suppress(OSError):
            os.setsid()
            if wanted:
                give_way()
    if sys.platform == "linux" and parent.isdigit():
        # Also when the user's code holds the GIL for ever.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if guard is None else getattr(signal, AT_ONCE))
        if not _is_alive(int(parent)):
            # It has died before the line above took effect.
            os._exit(EXIT_APP_GONE)
    if guard is None:
        return
    pid = os.getpid()
    engine = os.fork()
    if engine:
        guard.watch(engine)
    guard.forget()
    die_with_parent(pid)


def give_way() -> None:
    """Let the window come first where Linux shares out the processors by sessions (autogroups; `man 7 sched`).

    There, the engine's session was as good as the window's, and on two processors a training that uses both made the
    window wait for 40 to 80 ms at a time. A session that has all the processors it wants loses nothing by this. The
    niceness of the threads, which the user's code may read and set, stays what it is. On a machine that is always full,
    the variable says 0.
    """
    wanted = os.environ.get(NICENESS_VARIABLE, "")
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(wanted if wanted.isdecimal() else str(NICENESS))


def die_with_parent(parent: int) -> None:
    """On Linux, in a child of that process: it is killed when its parent dies, also before this was called."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(EXIT_APP_GONE)


def children() -> list[int]:
    """The numbers of this process's children, those that have ended and are not reaped among them."""
    try:
        pid = os.getpid()
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


class _Guard:
    """Lives in one thread; `watch` does not come back."""

    def __init__(self, last_place: LastPlace | None) -> None:
        self._last_place = last_place
        self._engine = 0
        self._is_hurried = False
        numbers = signal.SIGINT, signal.SIGTERM, getattr(signal, AT_ONCE)
        self._earlier = {number: signal.signal(number, self._on_signal) for number in numbers}
        # Whoever has started the app may have left it ignored: children are gone then without their end being seen.
        self._earlier[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def forget(self) -> None:
        """In the engine: signals do what they did before."""
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def watch(self, engine: int) -> NoReturn:
        """Wait for the engine's end, end all that is left, and end as the engine did."""
        self._engine = engine
        if self._is_hurried:
            self._pass_on(signal.SIGKILL)
        while True:
            # Looked at first and reaped after: until then its number is nobody else's, and a signal finds it or nothing.
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            assert ended is not None
            if ended.si_pid == engine:
                self._engine = 0
            _, status = os.waitpid(ended.si_pid, 0)
            if ended.si_pid == engine:
                break
        number = self._end_the_rest()
        if self._last_place is not None:
            self._last_place.count_ended(number)
        end_as(status)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == getattr(signal, AT_ONCE):
            self._is_hurried = True
            number = signal.SIGKILL
        self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        if self._engine:
            with contextlib.suppress(OSError):
                os.kill(self._engine, number)

    def _end_the_rest(self) -> int:
        """Returns how many there were. Those below a child become children when it ends."""
        seen: set[int] = set()
        asked: set[int] = set()
        began = time.monotonic()
        while time.monotonic() - began < GIVE_UP_SECS and _reap():
            is_final = self._is_hurried or time.monotonic() - began > GRACE_SECS
            for child in children():
                seen.add(child)
                if is_final or child not in asked:
                    asked.add(child)
                    with contextlib.suppress(OSError):
                        os.kill(child, signal.SIGKILL if is_final else signal.SIGTERM)
            time.sleep(_LOOK_SECS)
        return len(seen)


def _reap() -> bool:
    """Take the children away that have ended; false if there are no others."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def end_as(status: int) -> NoReturn:
    """By the same signal as a child with this wait status, or with the same exit code."""
    if os.WIFSIGNALED(status):
        faulthandler.disable()
        # The engine's own core dump says more than this one would.
        _prctl(_PR_SET_DUMPABLE, 0)
        number = os.WTERMSIG(status)
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _prctl(option: int, argument: int) -> bool:
    try:
        return bool(ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False
