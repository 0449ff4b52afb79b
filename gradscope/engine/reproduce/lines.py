"""Lines of Python that are written one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

_INDENT = "    "


class Lines:
    """Source text that grows; what is added inside of `below` is indented."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0

    def add(self, *lines: str) -> None:
        """Each a line; "" is an empty one."""
        self._lines += [f"{_INDENT * self._depth}{line}" if line else "" for line in lines]

    @contextlib.contextmanager
    def below(self, head: str) -> Iterator[None]:
        """What is added inside is the block of `head`."""
        self.add(head)
        self._depth += 1
        yield
        self._depth -= 1

    def when(self, condition: str, lines: Iterable[str]) -> None:
        """Lines under a condition; without one where that is ""."""
        if not condition:
            self.add(*lines)
            return
        with self.below(f"if {condition}:"):
            self.add(*lines)

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"
