"""A place at which the user's code waits until a test lets it go on: no sleep can be too short for a busy machine."""

from __future__ import annotations

import time
from pathlib import Path

from tests.patience import patient

_PAUSE_SECS = 0.005


class Gate:
    """`code` is one line for a recipe: it says that it is there, and waits until the gate is open."""

    def __init__(self, folder: Path) -> None:
        self._reached, self._open = folder / "reached", folder / "open"

    @property
    def code(self) -> str:
        exists = f"__import__('os').path.exists({str(self._open)!r})"
        say = f"open({str(self._reached)!r}, 'w').close()"
        return f"{say}; [__import__('time').sleep({_PAUSE_SECS}) for _ in iter(lambda: {exists}, True)]"

    def wait(self) -> None:
        """Until the code has come to the gate, for the first time."""
        deadline = time.monotonic() + patient(20)
        while not self._reached.exists():
            assert time.monotonic() < deadline, "the gate was not reached"
            time.sleep(_PAUSE_SECS)

    def open(self) -> None:
        self._open.touch()

    def close(self) -> None:
        """Whoever comes to it next waits again, and is waited for."""
        self._open.unlink()
        self._reached.unlink()
