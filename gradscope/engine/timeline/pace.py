"""How often something may be kept, so that it takes no more than a share of the training's time."""

from __future__ import annotations

import time

_MOST_SAVED_SECS = 0.25
"""Time that was saved up while nobody trained; more would be spent at once by a run that begins then."""


class Pace:
    """`share` of the time may be spent, None: all of it. Steps by hand are far apart, and each is kept."""

    def __init__(self) -> None:
        self.share: float | None = None
        self._saved = _MOST_SAVED_SECS
        self._at = time.perf_counter()

    def is_due(self) -> bool:
        """Asked once in a step, when it begins."""
        if self.share is None:
            return True
        now = time.perf_counter()
        self._saved = min(_MOST_SAVED_SECS, self._saved + self.share * (now - self._at))
        self._at = now
        return self._saved >= 0

    def spend(self, seconds: float) -> None:
        self._saved -= seconds
