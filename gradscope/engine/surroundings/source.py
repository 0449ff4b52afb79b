"""Which lines of the user's are running: frames as the app is told of them. Any thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from types import FrameType

from gradscope.engine.surroundings.error_parts import frames_of, wire_text
from gradscope.engine.surroundings.usercode import is_our_file, is_users_file
from gradscope.protocol.source import MAX_STACK, SourceLine, StackFrame


def users_line(frame: FrameType | None) -> SourceLine | None:
    """The innermost line of the user's in the stack that ends with `frame`; None where there is none."""
    while frame is not None:
        if is_users_file(frame.f_code.co_filename):
            return line_of(frame)
        frame = frame.f_back
    return None


def users_stack(frame: FrameType | None, most: int = MAX_STACK) -> tuple[StackFrame, ...]:
    """The user's lines in that stack, the innermost first, at most so many; gradscope's own calls are passed over."""
    return _folded(((frame, frame.f_lineno or 0) for frame in _outwards(frame)), most)


def stack_of_error(error: BaseException, most: int = MAX_STACK) -> tuple[StackFrame, ...]:
    """The user's lines that an exception has come through, the innermost first, at most so many."""
    return _folded(((trace.tb_frame, trace.tb_lineno or 0) for trace in reversed(list(frames_of(error)))), most)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _folded(stack: Iterable[tuple[FrameType, int]], most: int) -> tuple[StackFrame, ...]:
    """Of frames and the lines where they stood."""
    found: list[StackFrame] = []
    folded = 0
    for frame, line in stack:
        file = frame.f_code.co_filename
        if is_users_file(file):
            if found:
                found[-1] = replace(found[-1], folded=folded)
            if len(found) == most:
                break
            found.append(StackFrame(line_of(frame, line)))
            folded = 0
        elif not is_our_file(file):
            folded += 1
    return tuple(found)


def line_of(frame: FrameType, line: int | None = None) -> SourceLine:
    """`line`: where it stood, if it has gone on since."""
    code = frame.f_code
    file, function = _shown(code.co_filename, code.co_qualname)
    return SourceLine(file, (frame.f_lineno if line is None else line) or 0, function)


@lru_cache(maxsize=4096)
def _shown(file: str, function: str) -> tuple[str, str]:
    """As they are told: a script passes the same few lines in every step."""
    # "recipe.<locals>.Net.forward" says no more than "recipe.Net.forward".
    return wire_text(file), wire_text(function.replace(".<locals>", ""))
