"""Saving and loading checkpoints: the dialogs, the requests, and what the log says of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import QDir, QObject, Signal, Slot
from PySide6.QtWidgets import QWidget

from gradscope.protocol.messages.checkpoints import (
    CheckpointLoaded,
    CheckpointMismatch,
    CheckpointSaved,
    LoadCheckpoint,
    SaveCheckpoint,
)
from gradscope.protocol.visible import visible
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.dialogs.checkpoint_files import LoadCheckpointDialog, SaveCheckpointDialog
from gradscope.ui.dialogs.mismatch import MismatchDialog
from gradscope.ui.look.settings import Setting
from gradscope.ui.words import text


class Checkpoints(QObject):
    """`window` is the parent of dialogs. A failure is told by the failure bar, as any other."""

    told = Signal(str)
    """A message for the status bar."""

    def __init__(self, controller: Controller, *, window: QWidget, parent: QObject) -> None:
        super().__init__(parent)
        self._controller = controller
        self._settings = controller.settings
        self._window = window

    # ------------------------------------------------------------------------------------------ the actions

    @Slot()
    def save(self) -> None:
        name = f"{self._stem()}-step{self._controller.state.position.step}.pt"
        self._ask_where(self.tr("Save checkpoint"), name, is_best=False)

    @Slot()
    def save_best(self) -> None:
        self._ask_where(self.tr("Save best weights"), f"{self._stem()}-best.pt", is_best=True)

    @Slot()
    def load(self) -> None:
        dialog = LoadCheckpointDialog(folder=self._folder(), parent=self._window)
        dialog.fileSelected.connect(self._on_load_chosen)
        dialog.open()

    # ------------------------------------------------------------------------------------------ private

    def _ask_where(self, title: str, name: str, *, is_best: bool) -> None:
        dialog = SaveCheckpointDialog(title, folder=self._folder(), name=name, parent=self._window)
        dialog.fileSelected.connect(partial(self._on_save_chosen, is_best))
        dialog.open()

    def _folder(self) -> Path:
        return Path(self._settings.get(Setting.CHECKPOINT_FOLDER) or QDir.homePath())

    def _stem(self) -> str:
        session = self._controller.state.session
        return (Path(session.path).stem if session is not None else "") or "checkpoint"

    def _on_save_chosen(self, is_best: bool, path: str) -> None:
        self._settings.set(Setting.CHECKPOINT_FOLDER, str(Path(path).parent))
        self._controller.checkpoint(SaveCheckpoint(path=path, best=is_best), self._on_saved)

    @Slot(str)
    def _on_load_chosen(self, path: str) -> None:
        self._settings.set(Setting.CHECKPOINT_FOLDER, str(Path(path).parent))
        self._controller.checkpoint(LoadCheckpoint(path=path), self._on_loaded)

    def _on_saved(self, reply: object) -> None:
        if not isinstance(reply, CheckpointSaved):
            return
        line = self.tr("Checkpoint written to {path} ({size})")
        self._tell(line.format(path=visible(reply.path), size=text.byte_size(reply.size_bytes)))
        if reply.left_out:
            names = ", ".join(reply.left_out)
            self._warn(self.tr("Not in the checkpoint, since it is no plain value: {names}").format(names=names))

    def _on_loaded(self, reply: object) -> None:
        if isinstance(reply, CheckpointMismatch):
            dialog = MismatchDialog(reply, self._window)
            dialog.wanted.connect(partial(self._on_rest_wanted, reply.path))
            dialog.open()
        elif isinstance(reply, CheckpointLoaded):
            self._tell_loaded(reply)

    def _on_rest_wanted(self, path: str) -> None:
        self._controller.checkpoint(LoadCheckpoint(path=path, strict=False), self._on_loaded)

    def _tell_loaded(self, loaded: CheckpointLoaded) -> None:
        position = loaded.position
        if loaded.is_continued:
            line = self.tr(
                "{path} loaded: training goes on bit for bit before step {step} (epoch {epoch}, batch {batch})"
            )
        else:
            line = self.tr("{parts} loaded from {path}: before step {step} (epoch {epoch}, batch {batch})")
        parts = ", ".join(loaded.loaded)
        self._tell(
            line.format(
                path=loaded.path,
                parts=parts[:1].upper() + parts[1:],
                step=position.step,
                epoch=position.epoch,
                batch=position.batch,
            )
        )
        left = loaded.left
        if left is not None:
            unused = self.tr("Not loaded: {missing} missing, {unexpected} unexpected, {shapes} of another shape")
            counts = {"missing": len(left.missing), "unexpected": len(left.unexpected), "shapes": len(left.wrong_shape)}
            self._warn("; ".join([unused.format(**counts), *left.other]))
        for note in loaded.notes:
            self._warn(note)

    def _tell(self, line: str) -> None:
        self._log(line, is_warning=False)
        self.told.emit(line)

    def _warn(self, line: str) -> None:
        self._log(line, is_warning=True)

    def _log(self, line: str, *, is_warning: bool) -> None:
        self._controller.state.log.add(line, is_warning=is_warning)
        self._controller.state.touch(Topic.LOG)
        self._controller.flush()
