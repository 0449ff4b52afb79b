"""The setting "Keep a spare engine ready", in force. App process, GUI thread."""

from __future__ import annotations

from PySide6.QtCore import QObject, Slot

from gradscope.client.memory import memory_bytes
from gradscope.client.spare import Spare
from gradscope.ui.look.settings import Setting, Settings

MIN_MEMORY_BYTES = 4_000_000_000
"""A machine that is sold with 4 GB has a little more than this."""


class SpareKeeper(QObject):
    """Has a spare kept, from now on, whenever the setting says so and the machine has the memory for it."""

    def __init__(self, spare: Spare, settings: Settings, parent: QObject) -> None:
        super().__init__(parent)
        self._spare = spare
        self._settings = settings
        settings.changed.connect(self._on_setting_changed)
        self._apply()

    @Slot(str)
    def _on_setting_changed(self, key: str) -> None:
        if key == Setting.SPARE_ENGINE:
            self._apply()

    def _apply(self) -> None:
        self._spare.want(self._settings.get(Setting.SPARE_ENGINE) and lacking_memory_bytes() is None)


def lacking_memory_bytes() -> int | None:
    """All the memory that this machine has, where that is too little for a spare; else None."""
    memory = memory_bytes()
    return memory if memory is not None and memory < MIN_MEMORY_BYTES else None
