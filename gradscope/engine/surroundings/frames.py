"""The user's frames on the stack: where a script stands, and the names that it has for things there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from inspect import CO_OPTIMIZED
from types import FrameType
from typing import Any

from gradscope.engine.surroundings.usercode import is_our_file, is_users_file

_HAS_SNAPSHOTS = sys.version_info < (3, 13)
_REFERENCES = 3
"""To a frame's snapshot of its locals that nobody else holds: the frame's, ours, and that of the call that counts them."""


def calling_frames() -> Iterator[FrameType]:
    """From the innermost that is not gradscope's outwards."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not is_our_file(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back


def users_frames() -> list[FrameType]:
    """The user's, the innermost first."""
    return [frame for frame in calling_frames() if is_users_file(frame.f_code.co_filename)]


def users_frame() -> FrameType | None:
    """The innermost of the user's: where the script stands."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_users_file(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def locals_of(frame: FrameType) -> dict[str, Any]:
    """A frame's variables. Until Python 3.13 a frame keeps what it was asked for, and with it every tensor that the script
    deletes later: so that is emptied, unless the script holds it too (by `locals()`)."""
    found = frame.f_locals
    if not _HAS_SNAPSHOTS or not frame.f_code.co_flags & CO_OPTIMIZED:
        return found
    copy = dict(found)
    if sys.getrefcount(found) <= _REFERENCES:
        found.clear()
    return copy
