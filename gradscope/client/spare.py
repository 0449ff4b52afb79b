"""An engine in reserve: torch is imported, nothing else has been run. It takes the place of one that is ended.

App process, GUI thread. A spare is no engine to anybody until it is taken: what it prints is held back, and when it dies,
there is none. It is not started at a lower priority, which could not be taken back without privileges, but at a quiet
moment.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer, Slot

from gradscope.client.launch import Launch
from gradscope.client.link import LinkError

DELAY_SECS = 4.0
"""After the engine is ready or has been at work."""
MAX_DELAYS = 8
"""A run without an end is not waited for longer than so many times."""
MAX_DEATHS = 3
"""A spare that ends by itself so many times in a row is not started again in that interpreter."""


class Spare(QObject):
    """Keeps at most one engine in reserve, once it is wanted. `is_busy` tells whether the engine in use is at work."""

    def __init__(self, is_busy: Callable[[], bool], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._is_busy = is_busy
        self._is_wanted = False
        self._executable = ""
        self._launch: Launch | None = None
        self._ending: list[Launch] = []
        self._delays = self._deaths = 0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._on_due)

    # ------------------------------------------------------------------------------------------ public

    @property
    def pid(self) -> int:
        """0 when there is none."""
        return self._launch.pid if self._launch is not None else 0

    @property
    def is_waiting(self) -> bool:
        """It has come so far that it can say Hello."""
        return self._launch is not None and self._launch.said_hello is not None

    def want(self, wanted: bool) -> None:
        """Keep one from now on, or none."""
        self._is_wanted = wanted
        if not wanted:
            self._timer.stop()
            self._end()
        elif self._executable:
            self.prepare(self._executable)

    def prepare(self, executable: str) -> None:
        """An engine runs in this interpreter: have another one ready, in a while."""
        if executable != self._executable:
            self._end()
            self._executable, self._deaths = executable, 0
        if self._is_wanted and self._launch is None and self._deaths < MAX_DEATHS:
            self._delays = 0
            self._timer.start(int(DELAY_SECS * 1000))

    def take(self, executable: str) -> Launch | None:
        """The spare, if there is one in this interpreter: it is the caller's now, who listens to it and welcomes it."""
        self._timer.stop()
        if self._launch is None or executable != self._executable:
            return None
        launch, self._launch = self._launch, None
        launch.ended.disconnect(self._on_ended)
        self._deaths = 0
        return launch

    def shut_down(self) -> list[Launch]:
        """The app ends: ask it to end as well. Returns all that may still be running."""
        self.want(False)
        return list(self._ending)

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_due(self) -> None:
        if self._is_busy() and self._delays < MAX_DELAYS:
            self._delays += 1
            self._timer.start(int(DELAY_SECS * 1000))
            return
        try:
            self._launch = Launch(self._executable, in_reserve=True, parent=self)
        except LinkError:
            return
        self._launch.ended.connect(self._on_ended)
        self._launch.start()

    @Slot(str)
    def _on_ended(self, _sentence: str) -> None:
        launch = self.sender()
        assert isinstance(launch, Launch)
        if launch in self._ending:
            self._ending.remove(launch)
        elif launch is self._launch:
            self._launch = None
            self._deaths += 1
            self.prepare(self._executable)
        launch.dispose()

    # ------------------------------------------------------------------------------------------ private

    def _end(self) -> None:
        if self._launch is not None:
            launch, self._launch = self._launch, None
            self._ending.append(launch)
            # It has run nothing of anybody's: there is nothing to wait for.
            launch.close_link()
            launch.process.kill()
