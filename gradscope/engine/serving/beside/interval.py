"""How often progress is told."""

from __future__ import annotations

import time

_SECS = 0.1


class Interval:
    """Of one thing that takes long."""

    def __init__(self) -> None:
        self._what: str | None = None
        self._at = 0.0

    def is_due(self, what: str = "") -> bool:
        """Whether it is to be told now: another part of it has begun, or some time has gone by since the last time."""
        now = time.monotonic()
        if what == self._what and now - self._at < _SECS:
            return False
        self._what, self._at = what, now
        return True
