"""A window for a process that runs already: it is told where to connect, and may come again when it has gone."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, Slot

from gradscope.client.engine_client import EngineClient
from gradscope.client.link import LinkError
from gradscope.state.engine import EngineState, EngineStatus


class Door(QObject):
    """`tell` gets the line by which it connects, each time there is a new one. Once another engine is started here, or a
    process that was told does not listen any more, nobody is waited for."""

    def __init__(self, client: EngineClient, tell: Callable[[str], None], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._client, self._tell = client, tell
        client.state_changed.connect(self._on_engine_state)

    def open(self) -> None:
        """Raises LinkError where the app cannot listen, OSError where nobody can be told."""
        self._tell(self._client.open_door())

    @Slot(object)
    def _on_engine_state(self, engine: EngineState) -> None:
        if engine.is_attached and engine.status is EngineStatus.DEAD:
            try:
                self.open()
            except (LinkError, OSError):
                self._client.close_door()
