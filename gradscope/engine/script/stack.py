"""What is under way on the stacks of this process's threads; and its forks."""

from __future__ import annotations

import functools
import os
import sys
import threading
import weakref
from collections.abc import Callable
from types import FrameType

from torch import nn

_CALL = nn.Module._call_impl.__code__
_OFF_IN_CHILDREN: weakref.WeakSet[Forked] = weakref.WeakSet()


class Forked:
    """Calls `work` in every process that is forked from this one, as long as this object lives."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        _OFF_IN_CHILDREN.add(self)
        _listen_to_forks()


@functools.cache
def _listen_to_forks() -> None:
    # What is registered there stays for ever: so it keeps nothing alive.
    os.register_at_fork(after_in_child=lambda: [forked.work() for forked in _OFF_IN_CHILDREN])


def is_alive(thread: int) -> bool:
    return any(known.ident == thread for known in threading.enumerate())


def is_stepping(thread: int) -> bool:
    """Whether that thread, if it is another one, is in the step of an optimizer."""
    frame = None if thread == threading.get_ident() else sys._current_frames().get(thread)
    while frame is not None:
        if frame.f_globals.get("__name__") == "torch.optim.optimizer" and frame.f_code.co_name == "wrapper":
            return True
        frame = frame.f_back
    return False


def calls_under_way() -> int:
    """How many calls of modules there are on this thread's stack."""
    count = 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        count, frame = count + (frame.f_code is _CALL), frame.f_back
    return count


def steps_under_way() -> int:
    """How many steps of optimizers there are on this thread's stack."""
    count = 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        count += frame.f_code.co_name == "wrapper" and frame.f_globals.get("__name__") == "torch.optim.optimizer"
        frame = frame.f_back
    return count


def depth() -> int:
    count = 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        count, frame = count + 1, frame.f_back
    return count
