"""Export snapshot: what the dialog refuses, what it asks the engine for, and what it does with each answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtWidgets import QDialogButtonBox, QMainWindow
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.messages import Attachment
from gradscope.protocol.parts import EVERYTHING, Part
from gradscope.snapshots.format import saved_history, tensor_file
from gradscope.state.engine import EngineStatus
from gradscope.state.history import History
from gradscope.ui.dialogs.export import ExportDialog
from gradscope.ui.look.settings import Setting
from gradscope.ui.window.commands import Commands
from tests.ui.fakes import small_training
from tests.ui.shell_fakes import ShellController


def picture(name: str, size: int) -> Attachment:
    return Attachment(name=f"plots/{name}", data=np.zeros(size, dtype=np.uint8))


PICTURES = [picture("a.png", 300), picture("a.svg", 1000)]
HISTORY = {saved_history.JSON_FILE, saved_history.ARRAYS_FILE}


class Scene:
    """A window whose Export action has been used."""

    def __init__(self, controller: ShellController, qtbot: QtBot, folder: Path) -> None:
        self.controller = controller
        self.window = QMainWindow()
        qtbot.addWidget(self.window)
        self.window.show()
        self.pictures: Iterator[Attachment] = iter(PICTURES)
        self.commands = Commands(controller, window=self.window, plot_images=lambda: self.pictures)  # type: ignore[arg-type]
        self.told: list[str] = []
        self.commands.told.connect(self.told.append)
        controller.settings.set(Setting.EXPORT_FOLDER, str(folder))
        controller.start(small_training(), steps=2)

    def open(self) -> ExportDialog:
        self.commands.export_snapshot()
        return self.window.findChildren(ExportDialog)[-1]


@pytest.fixture
def scene(controller: ShellController, qtbot: QtBot, tmp_path: Path) -> Scene:
    return Scene(controller, qtbot, tmp_path)


def failed(sentence: str) -> messages.Failed:
    from gradscope.protocol.phases import Position

    return messages.Failed(failure=Failure(kind=FailureKind.BAD_INPUT, sentence=sentence), position=Position())


def test_everything_goes_in_and_the_path_is_told(scene: Scene, qtbot: QtBot, tmp_path: Path) -> None:
    dialog = scene.open()
    assert dialog.name.text() == "Small-step2"
    dialog.accept()
    qtbot.waitUntil(lambda: bool(scene.told))
    target = str(tmp_path / "Small-step2")
    assert scene.controller.asked[-1] == ("export", target, EVERYTHING)
    names = [attachment.name for attachment in scene.controller.exports[0]]
    assert names[:2] == ["plots/a.png", "plots/a.svg"] and set(names[2:]) == HISTORY
    assert target in scene.told[-1] and "2 KiB" in scene.told[-1]
    qtbot.waitUntil(lambda: not scene.window.findChildren(ExportDialog))


def test_the_history_is_the_one_on_the_screen(scene: Scene, qtbot: QtBot) -> None:
    scene.open().accept()
    qtbot.waitUntil(lambda: bool(scene.controller.exports))
    data = {attachment.name: attachment.data.tobytes() for attachment in scene.controller.exports[0]}
    arrays = tensor_file.decode(data[saved_history.ARRAYS_FILE])
    history = scene.controller.state.history
    restored = History.restored(saved_history.decode(data[saved_history.JSON_FILE], arrays))
    assert restored.loss.values.tolist() == history.loss.values.tolist()
    for kind, block in history.blocks.items():
        assert restored.blocks[kind].keys == block.keys


def test_the_size_is_seen_before_writing(scene: Scene, qtbot: QtBot) -> None:
    dialog = scene.open()
    assert dialog.sizes[Part.PARAMETERS].text() == "1 KiB"
    assert dialog.sizes[Part.PLOTS].text() == "…" and dialog.total.text() == "In all …"
    qtbot.waitUntil(lambda: dialog.sizes[Part.PLOTS].text() == "1.27 KiB")
    # The page has the PNG in it, as text.
    assert dialog.sizes[Part.REPORT].text() == "1.39 KiB"
    for part in set(Part) - {Part.PARAMETERS, Part.PLOTS}:
        dialog.parts[part].setChecked(False)
    assert dialog.total.text() == "In all 2.77 KiB"


def test_what_is_chosen_is_asked_for_and_remembered(scene: Scene, qtbot: QtBot, tmp_path: Path) -> None:
    dialog = scene.open()
    for part in set(Part) - {Part.GRADIENTS, Part.BATCH}:
        dialog.parts[part].setChecked(False)
    dialog.form.setCurrentIndex(1)
    dialog.accept()
    qtbot.waitUntil(lambda: bool(scene.told))
    wanted = frozenset({Part.GRADIENTS, Part.BATCH})
    assert scene.controller.asked[-1] == ("export", str(tmp_path / "Small-step2.zip"), wanted)
    assert scene.controller.exports == [()]
    again = scene.open()
    assert again.contents() == wanted and again.is_zip
    again.reject()


def test_the_plots_are_drawn_for_a_report_too(scene: Scene, qtbot: QtBot) -> None:
    dialog = scene.open()
    for part in set(Part) - {Part.REPORT}:
        dialog.parts[part].setChecked(False)
    dialog.accept()
    qtbot.waitUntil(lambda: bool(scene.told))
    assert [attachment.name for attachment in scene.controller.exports[0]] == ["plots/a.png", "plots/a.svg"]


def test_nothing_waits_for_plots_that_nobody_wants(scene: Scene) -> None:
    dialog = scene.open()
    dialog.parts[Part.PLOTS].setChecked(False)
    dialog.parts[Part.REPORT].setChecked(False)
    dialog.accept()
    assert len(scene.controller.exports) == 1


@pytest.mark.parametrize("name", ["taken", "", "..", "a/b", "shot.zip"])
def test_names_that_cannot_be(name: str, scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    dialog = scene.open()
    assert dialog.problem() is None and dialog.export.isEnabled()
    dialog.name.setText(name)
    assert not dialog.export.isEnabled() and dialog.hint.property("role") == "bad"
    assert "." not in (dialog.problem() or ".")[-1:]
    dialog.accept()
    assert dialog.isVisible() and scene.controller.exports == []
    dialog.name.setText("free")
    assert dialog.export.isEnabled() and dialog.hint.property("role") == "muted"
    dialog.reject()


def test_a_taken_zip_and_a_folder_that_is_not_there(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "taken.zip").touch()
    dialog = scene.open()
    dialog.form.setCurrentIndex(1)
    for name in ("taken", "taken.zip"):
        dialog.name.setText(name)
        assert dialog.path() == tmp_path / "taken.zip"
        assert "is there already" in (dialog.problem() or "")
    dialog.folder.setText(str(tmp_path / "nowhere"))
    assert "no folder" in (dialog.problem() or "")
    dialog.reject()


def test_progress_is_shown_and_the_form_is_closed(scene: Scene, qtbot: QtBot, tmp_path: Path) -> None:
    scene.controller.holds_exports = True
    dialog = scene.open()
    assert dialog.progress.isHidden()
    dialog.accept()
    assert dialog.hint.text() == "Drawing the plots" and not dialog.progress.isHidden()
    qtbot.waitUntil(lambda: bool(scene.controller.exports))
    assert dialog.hint.text() == f"Writing to {tmp_path / 'Small-step2'}"
    scene.controller.export_progressed.emit(messages.ExportProgress(done_bytes=2**40, total_bytes=2**41))
    assert dialog.progress.value() == 500 and dialog.hint.text().startswith("1 TiB of 2 TiB written to")
    for widget in (dialog.name, dialog.folder, dialog.form, dialog.export, *dialog.parts.values()):
        assert not widget.isEnabled()
    dialog.accept()
    assert len(scene.controller.exports) == 1
    scene.controller.reply_to_export(messages.Exported(path="/x", files=(), size_bytes=2**41))
    assert "2 TiB" in scene.told[-1]
    assert not dialog.isVisible()


def test_a_failure_is_told_and_can_be_tried_again(scene: Scene, qtbot: QtBot) -> None:
    scene.controller.holds_exports = True
    dialog = scene.open()
    dialog.accept()
    qtbot.waitUntil(lambda: bool(scene.controller.exports))
    scene.controller.reply_to_export(failed("The snapshot could not be written: No space left on device"))
    assert dialog.isVisible() and dialog.hint.property("role") == "bad"
    assert dialog.hint.text() == "The snapshot could not be written: No space left on device"
    assert dialog.progress.isHidden() and dialog.name.isEnabled() and dialog.export.isEnabled()
    scene.controller.holds_exports = False
    dialog.accept()
    first, second = ([attachment.name for attachment in export] for export in scene.controller.exports)
    assert first == second and scene.told


def cancel_while_writing(scene: Scene, qtbot: QtBot, dialog: ExportDialog) -> None:
    qtbot.waitUntil(lambda: bool(scene.controller.exports))
    dialog.buttons.button(QDialogButtonBox.StandardButton.Cancel).click()
    assert scene.controller.asked[-1] == ("cancel export",)
    assert dialog.isVisible() and dialog.hint.text() == "Cancelling"
    scene.controller.reply_to_export(messages.Cancelled())


def cancel_while_drawing(scene: Scene, qtbot: QtBot, dialog: ExportDialog) -> None:
    dialog.reject()
    assert scene.controller.exports == []


def cancel_too_late(scene: Scene, qtbot: QtBot, dialog: ExportDialog) -> None:
    qtbot.waitUntil(lambda: bool(scene.controller.exports))
    dialog.reject()
    scene.controller.reply_to_export(messages.Exported(path="/x", files=(), size_bytes=1))
    assert scene.told


@pytest.mark.parametrize("cancel", [cancel_while_drawing, cancel_while_writing, cancel_too_late])
def test_cancelling(cancel: Callable[[Scene, QtBot, ExportDialog], None], scene: Scene, qtbot: QtBot) -> None:
    scene.controller.holds_exports = True
    dialog = scene.open()
    dialog.accept()
    cancel(scene, qtbot, dialog)
    assert not dialog.isVisible()
    qtbot.wait(20)


def test_an_engine_that_dies_does_not_leave_the_dialog_waiting(scene: Scene, qtbot: QtBot) -> None:
    scene.controller.holds_exports = True
    dialog = scene.open()
    dialog.accept()
    qtbot.waitUntil(lambda: bool(scene.controller.exports))
    scene.controller.set_engine(EngineStatus.DEAD, "The engine was killed (SIGKILL)\nand more")
    assert dialog.hint.text() == "The engine was killed (SIGKILL)" and dialog.hint.property("role") == "bad"
    dialog.reject()
    assert not dialog.isVisible()


def test_an_answer_after_the_dialog_is_gone(scene: Scene, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[Callable[[object], None]] = []
    monkeypatch.setattr(scene.controller, "measure_snapshot", waiting.append)
    dialog = scene.open()
    with qtbot.waitSignal(dialog.destroyed):
        dialog.reject()
    waiting[0](messages.SnapshotSizes(parts=(), always_bytes=1))
    scene.controller.export_progressed.emit(messages.ExportProgress(done_bytes=1, total_bytes=2))
    qtbot.wait(20)


def test_sizes_that_cannot_be_had(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene.controller, "measure_snapshot", lambda on_reply: on_reply(failed("broken")))
    dialog = scene.open()
    assert dialog.sizes[Part.PARAMETERS].text() == "…" and dialog.export.isEnabled()
    dialog.reject()


def test_after_the_engine_s_death_it_says_so_and_exports_nothing(scene: Scene, qtbot: QtBot) -> None:
    dialog = scene.open()
    assert dialog.export.isEnabled()
    scene.controller.set_engine(EngineStatus.DEAD, "It died")
    assert not dialog.export.isEnabled() and "The engine is not running" in dialog.hint.text()
    dialog.accept()
    assert not any(asked[0] == "export" for asked in scene.controller.asked)


def test_more_than_the_disk_has_is_told(scene: Scene, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=100))
    dialog = scene.open()
    qtbot.waitUntil(lambda: "…" not in dialog.total.text())
    assert "only 100 B are free there" in dialog.total.text()
    for box in dialog.parts.values():
        box.setChecked(False)
    dialog.folder.setText("/nowhere/at/all")
    monkeypatch.undo()
    dialog._on_edited()
    assert "free" not in dialog.total.text()
