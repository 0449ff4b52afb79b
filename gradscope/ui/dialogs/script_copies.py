"""A plain PyTorch script that comes to this moment: copied to the clipboard, or saved to a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QDir, QObject, Qt, Signal, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog, QWidget

from gradscope.protocol.messages import Failed
from gradscope.protocol.messages.reproduce import Reproduce, Reproduced
from gradscope.protocol.visible import visible
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.look.settings import Setting


class ScriptCopies(QObject):
    """`window` is the parent of the dialog. The engine writes the script, and says why where it cannot."""

    told = Signal(str)
    """A message for the status bar."""

    def __init__(self, controller: Controller, *, window: QWidget, parent: QObject) -> None:
        super().__init__(parent)
        self._controller, self._settings, self._window = controller, controller.settings, window

    @Slot()
    def copy(self) -> None:
        """To the clipboard."""
        self._ask(self._put_on_clipboard)

    @Slot()
    def save(self) -> None:
        """To a file, which a dialog asks for once the script is written."""
        self._ask(self._ask_where)

    # ------------------------------------------------------------------------------------------ private

    def _ask(self, use: Callable[[str], None]) -> None:
        if self._controller.state.reproduce_refusal() is not None:
            return

        def on_reply(reply: object) -> None:
            if isinstance(reply, Failed):
                self._tell(reply.failure.sentence, is_warning=True)
            elif isinstance(reply, Reproduced):
                for note in reply.notes:
                    self._log(note, is_warning=True)
                use(reply.text)

        self._controller.ask(Reproduce(), on_reply)

    def _put_on_clipboard(self, script: str) -> None:
        QGuiApplication.clipboard().setText(script)
        lines = len(script.splitlines())
        self._tell(
            self.tr("A script of {lines} lines that comes to this moment is on the clipboard").format(lines=lines)
        )

    def _ask_where(self, script: str) -> None:
        state = self._controller.state
        stem = (Path(state.session.path).stem if state.session is not None else "") or "training"
        folder = Path(self._settings.get(Setting.SCRIPT_FOLDER) or QDir.homePath())
        name = f"{stem}_to_step{state.position.step}.py"
        dialog = SaveScriptDialog(folder=folder, name=name, parent=self._window)
        dialog.fileSelected.connect(lambda path: self._write(path, script))
        dialog.open()

    def _write(self, path: str, script: str) -> None:
        self._settings.set(Setting.SCRIPT_FOLDER, str(Path(path).parent))
        try:
            Path(path).write_text(script, encoding="utf-8")
        except OSError as error:
            reason = error.strerror or str(error)
            line = self.tr("{path} cannot be written: {reason}").format(path=visible(path), reason=reason)
            self._tell(line, is_warning=True)
        else:
            self._tell(self.tr("Script written to {path}").format(path=visible(path)))

    def _tell(self, line: str, *, is_warning: bool = False) -> None:
        self._log(line, is_warning=is_warning)
        self.told.emit(line)

    def _log(self, line: str, *, is_warning: bool) -> None:
        self._controller.state.log.add(line, is_warning=is_warning)
        self._controller.state.touch(Topic.LOG)
        self._controller.flush()


class SaveScriptDialog(QFileDialog):
    """`fileSelected` tells the chosen path; Qt asks before a file is replaced."""

    def __init__(self, *, folder: Path, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Save as script"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        self.setFileMode(QFileDialog.FileMode.AnyFile)
        self.setNameFilters([self.tr("Python files (*.py)"), self.tr("All files (*)")])
        self.setDefaultSuffix("py")
        self.setDirectory(str(folder))
        self.selectFile(name)
