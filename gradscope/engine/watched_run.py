"""On Linux, `gradscope run` is done by a child of the process that was started, which says how it ended.

A process that is killed, or ended from inside by `os._exit`, cannot say so itself. The child has the terminal, the standard
streams and the process group of its parent, so that Ctrl+C, Ctrl+Z and pipes reach it as they would without one; the parent
sleeps, passes on what was sent to it alone, and ends as the child did. It is forked before numpy and torch are imported.
Elsewhere, a crash leaves what faulthandler writes.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NoReturn

from gradscope.engine.serving.guard import die_with_parent, end_as
from gradscope.protocol.last_place import LastPlace, place_in_words
from gradscope.protocol.signals import name_and_meaning
from gradscope.standard_streams import tell

_END = 0xFF
"""What the child writes before its exit code when it comes to its end. No signal has this number."""
_INTERRUPTED = 130
"""The exit code of a run that was interrupted."""
_PASSED_ON = "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"
_HEARD_SECS = 0.05
"""A signal that was sent to the whole group has reached the child by then."""


def begin(*, is_script: bool = False) -> Callable[[int], None]:
    """Returns in the process that is to do the run. What it returns is called last, with the exit code. A script ends as it
    likes, and with what it has printed itself: of that only a signal that has killed it is told."""
    if not is_script:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            # Standard error may be something that is no file.
            faulthandler.enable()
    if sys.platform != "linux" or threading.active_count() > 1:
        return lambda _code: None
    signals = {signal.SIGCHLD, *(getattr(signal, name) for name in _PASSED_ON)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    # Whoever has started us may have left it ignored: children are gone then without their end being seen.
    earlier = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    reading, writing = os.pipe()
    place = LastPlace.make_for_run()
    parent, child = os.getpid(), os.fork()
    if child:
        os.close(writing)
        _watch(child, reading, signals, place, describe_script_end if is_script else describe_end)
    os.close(reading)
    die_with_parent(parent)
    signal.signal(signal.SIGCHLD, earlier)
    # Python writes the number of every signal that it gets there, at once, also while the user's code holds the GIL.
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if is_script:
        # It may have closed the pipe, and opened something else of that number.
        return lambda _code: None

    def say_end(code: int) -> None:
        with contextlib.suppress(OSError):
            os.write(writing, bytes([_END, code & 0xFF]))

    return say_end


def _watch(
    child: int,
    reading: int,
    signals: set[signal.Signals],
    place: LastPlace | None,
    describe: Callable[[int, bytes], str | None],
) -> NoReturn:
    """Wait for the end of the child, say how it was if that is not known, and end like that."""
    os.set_blocking(reading, False)
    said = b""
    # Of the signals that the child tells of, those that it has from here.
    own: Counter[int] = Counter()
    while True:
        number = signal.sigwaitinfo(signals).si_signo
        if number == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            continue
        time.sleep(_HEARD_SECS)
        # It was sent to this process and to its group, as timeout(1) does: that is once.
        while signal.sigtimedwait({signal.Signals(number)}, 0) is not None:
            pass
        heard = _read(reading)
        said += heard
        counts = Counter(heard)
        if counts[number] <= own[number]:
            own[number] += 1
            with contextlib.suppress(OSError):
                os.kill(child, number)
        own -= counts
    sentence = describe(status, said + _read(reading))
    if sentence is not None:
        tell(_with_place(sentence, place))
    end_as(status)


def _with_place(sentence: str, place: LastPlace | None) -> str:
    where = ""
    if place is not None:
        # What the run has left there is read with the help of numpy, which may be what it has died of.
        with contextlib.suppress(Exception):
            where = place_in_words(place.read())
    return f"{sentence}. It was in {where}" if where else sentence


def describe_end(status: int, said: bytes) -> str | None:
    """How a run ended, as `os.wait` has it, in a sentence without a full stop; None where it came to its end.

    `said` are the bytes that it wrote.
    """
    _, end, after = said.partition(bytes([_END]))
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGINT and end and after[:1] == bytes([_INTERRUPTED]):
        # It has said so, and was interrupted once more while Python was ending.
        return None
    if code < 0:
        return f"the run was killed by {name_and_meaning(-code)}"
    if end and after[:1] == bytes([code]):
        return None
    if end:
        return f"the run was done, and then ended with exit code {code}: something was called while Python was ending"
    return (
        f"the run has ended with exit code {code} before it was done, and has not said why: the recipe, or something that "
        "it uses, has called os._exit or exit()"
    )


def describe_script_end(status: int, _said: bytes) -> str | None:
    """The same of a script, which may leave by `os._exit`, and becomes another program by `os.exec` as it likes."""
    code = os.waitstatus_to_exitcode(status)
    # Interrupted, it has printed its own traceback, as Python does.
    if code >= 0 or code == -signal.SIGINT:
        return None
    return f"the script was killed by {name_and_meaning(-code)}"


def _read(pipe: int) -> bytes:
    """All that is there."""
    found = b""
    with contextlib.suppress(OSError):
        while part := os.read(pipe, 65536):
            found += part
    return found
