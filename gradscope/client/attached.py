"""A process that was not started by the app, and connects to it by itself. App process, GUI thread; nothing here waits.

It is an engine that cannot be ended, only let go: it goes on without the app then.
"""

from __future__ import annotations

import sys

from PySide6.QtCore import QCoreApplication, QObject, Slot

from gradscope.client.launch import Launch


class AttachedLaunch(Launch):
    """`ended` comes when the connection is closed, from whichever end. Raises LinkError where the app cannot listen."""

    is_attached = True

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(sys.executable, parent=parent)
        self._has_ended = False
        assert self.link is not None
        self.link.lost.connect(self._on_lost)

    @property
    def door(self) -> str:
        """Where it is to connect to, and the token that it needs: a line for nobody else."""
        assert self.link is not None
        return f"{self.link.port} {self.link.token}"

    def start(self) -> None:
        """It runs."""

    @property
    def pid(self) -> int:
        return self.said_hello.pid if self.said_hello is not None and self.link is not None else 0

    def retire(self) -> None:
        """Let it go."""
        self.close_link()

    def kill(self) -> None:
        """Nobody ends it from here: it is let go."""
        self._on_lost()

    @Slot()
    def _on_lost(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            text = "The process in which gradscope.watch() was called has ended. Its values are gone; the plots stay"
            self._on_ended(QCoreApplication.translate("EngineClient", text))
