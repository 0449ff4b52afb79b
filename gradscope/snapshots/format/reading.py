"""How far the reading of a snapshot is, and whether anybody still waits for it; shared by two threads."""

from __future__ import annotations

import threading


class GivenUp(Exception):
    """Nobody waits for what was being read."""


class Reading:
    """One for each snapshot that is opened; it outlives the opening, for what is read of the snapshot later."""

    def __init__(self) -> None:
        self._is_given_up = threading.Event()
        self._progress: tuple[str, float] = ("", 0.0)

    @property
    def progress(self) -> tuple[str, float]:
        """(what is being read, the share of it that is done)."""
        return self._progress

    def give_up(self) -> None:
        """Break it off at the next opportunity, some milliseconds later; from any thread."""
        self._is_given_up.set()

    def advance(self, what: str = "", share: float = 0.0) -> None:
        """Called by who reads, after every piece. Raises GivenUp."""
        if what:
            self._progress = (what, share)
        if self._is_given_up.is_set():
            raise GivenUp
