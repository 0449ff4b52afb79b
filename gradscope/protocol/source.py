"""Lines of the user's source, and stacks of them."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.protocol.limits import Count, Name, Path

MAX_STACK = 200
"""Frames of the user's that are told of one stack."""
MAX_SOURCE = 1_000_000
"""Characters of a file that are shown."""


@dataclass(frozen=True)
class SourceLine:
    """A line that was running."""

    file: Path
    """As Python knows it: an absolute path, or `<train.ipynb, cell 3>`."""
    line: Count
    """From 1; 0 where it is not known."""
    function: Name = ""
    """"<module>" for a line outside any function."""


@dataclass(frozen=True)
class StackFrame:
    """A line of the user's that has not returned yet."""

    line: SourceLine
    folded: Count = 0
    """How many calls of libraries lie between it and the user's line that called them: the next frame of a stack."""
