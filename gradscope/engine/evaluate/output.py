"""What evaluated code prints, caught; and what it would read: nothing."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator

MOST_PRINTED = 15_000
"""Characters that are kept of one evaluation."""


class Printed(io.TextIOBase):
    """In the place of stdout and stderr. Keeps the beginning, and counts the rest."""

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._length = self._left_out = 0

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        room = MOST_PRINTED - self._length
        kept = text[:room]
        if kept:
            self._kept.append(kept)
            self._length += len(kept)
        self._left_out += len(text) - len(kept)
        return len(text)

    def writable(self) -> bool:
        return True

    @property
    def text(self) -> str:
        end = f"\n... {self._left_out} more characters were printed" if self._left_out else ""
        return "".join(self._kept).encode("utf-8", "backslashreplace").decode() + end


@contextlib.contextmanager
def caught() -> Iterator[Printed]:
    """Inside, prints are caught, and input() raises EOFError: nobody is there to answer."""
    printed, stdin = Printed(), sys.stdin
    try:
        sys.stdin = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            yield printed
    finally:
        sys.stdin = stdin
