"""How far something is, on a terminal: one line, redrawn at most ten times a second."""

from __future__ import annotations

import contextlib
import sys
import time

from gradscope.protocol.visible import visible

_BAR_WIDTH = 28
_REDRAW_SECS = 0.1


class Progress:
    """A bar on standard error. `unit`: what is counted, in the plural."""

    def __init__(self, planned: int, *, shown: bool, unit: str = "steps") -> None:
        self._planned, self._shown, self._unit = planned, shown, unit
        self._started = self._drawn = time.monotonic()

    def show(self, done: int, words: str, *, planned: int | None = None) -> None:
        """`planned`: where that has turned out to be another number."""
        self._planned = self._planned if planned is None else planned
        now = time.monotonic()
        if not self._shown or (now - self._drawn < _REDRAW_SECS and done < self._planned):
            return
        self._drawn = now
        filled = min(_BAR_WIDTH, _BAR_WIDTH * done // max(1, self._planned))
        rate = done / max(now - self._started, 1e-9)
        bar = f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}]"
        text = f"{bar} {done}/{self._planned}  {rate:.1f} {self._unit}/s  {visible(words)}"
        with contextlib.suppress(OSError):
            print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._shown:
            with contextlib.suppress(OSError):
                print(file=sys.stderr)
