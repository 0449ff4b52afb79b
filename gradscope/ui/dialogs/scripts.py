"""Opening scripts: the dialog that asks how, and what is remembered of it."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Slot
from PySide6.QtWidgets import QWidget

from gradscope.protocol.scripts import Script
from gradscope.ui.actions.controller import Controller
from gradscope.ui.dialogs.open_script import OpenScriptDialog
from gradscope.ui.dialogs.script_memory import ScriptMemory


class Scripts(QObject):
    """`window` is the parent of dialogs."""

    def __init__(self, controller: Controller, *, window: QWidget, parent: QObject) -> None:
        super().__init__(parent)
        self._controller = controller
        self._window = window
        self._memory = ScriptMemory(controller.settings)

    def ask(self, path: str) -> None:
        """How to start the script at this path: as the last time, where nothing else is entered."""
        dialog = OpenScriptDialog(self._memory.script_at(path), parent=self._window)
        dialog.chosen.connect(self.open)
        dialog.open()

    def reopen(self, key: str) -> None:
        """As it was started the last time. Where it cannot be so any more, the dialog says why."""
        script = self._memory.script_at(key)
        if script.folder and not Path(script.folder).is_dir():
            self.ask(key)
        else:
            self.open(script)

    @Slot(object)
    def open(self, script: Script) -> None:
        self._memory.remember(script)
        self._controller.open_script(script)
