"""The traceback of a script's exception as it would be without gradscope."""

from __future__ import annotations

import contextlib
from types import TracebackType

from gradscope.engine.surroundings.error_parts import frames_of
from gradscope.engine.surroundings.usercode import is_our_file

_MOST = 1000
"""Of exceptions that follow from each other."""


def without_ours(error: BaseException) -> BaseException:
    """The same exception; gradscope's frames, and those of `python -m` that are before the script's, are taken out of its
    traceback, and of those of what it came from."""
    waiting = [error]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
        with contextlib.suppress(Exception):
            _cut(one)
    return error


def _cut(error: BaseException) -> None:
    kept = [trace for trace in frames_of(error) if not is_our_file(trace.tb_frame.f_code.co_filename)]
    while kept and kept[0].tb_frame.f_code.co_filename.startswith("<frozen runpy"):
        kept.pop(0)
    following: TracebackType | None = None
    for trace in reversed(kept):
        trace.tb_next = following
        following = trace
    error.__traceback__ = following
