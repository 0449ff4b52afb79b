"""Export to TensorBoard: what the dialog refuses, what it writes, and what the log says of it."""

from __future__ import annotations

import importlib.util
import shlex
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialogButtonBox, QMainWindow
from pytestqt.qtbot import QtBot

from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import Rest
from gradscope.state.engine import EngineStatus
from gradscope.ui.actions import event_export
from gradscope.ui.actions.actions import Actions
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.actions.table import TABLE
from gradscope.ui.dialogs.tensorboard import TensorBoardDialog
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.window.commands import Commands
from tests.snapshots.events import read, scalars
from tests.ui.fakes import small_training, started
from tests.ui.shell_fakes import ShellController


@pytest.fixture
def dialog(qtbot: QtBot, tmp_path: Path) -> TensorBoardDialog:
    dialog = TensorBoardDialog(started(small_training(), steps=3).state.history, folder=tmp_path, name="run")
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(dialog)
    return dialog


def test_the_history_is_written_and_the_log_says_how_to_look_at_it(
    controller: ShellController, qtbot: QtBot, tmp_path: Path
) -> None:
    window = QMainWindow()
    qtbot.addWidget(window)
    window.show()
    commands = Commands(controller, window=window, plot_images=lambda: iter(()))  # type: ignore[arg-type]
    told: list[str] = []
    commands.told.connect(told.append)
    runs = tmp_path / "my runs"
    runs.mkdir()
    controller.settings.set(Setting.RUNS_FOLDER, str(runs))
    controller.start(small_training(), steps=3)
    commands.export_to_tensorboard()
    (dialog,) = window.findChildren(TensorBoardDialog)
    assert dialog.name.text() == "Small-step3"
    dialog.accept()
    qtbot.waitUntil(lambda: bool(told))
    assert list(scalars(read(runs / "Small-step3"), "loss")) == [0, 1, 2]
    assert f"Event files written to {runs / 'Small-step3'} (" in told[0]
    line = controller.state.log.lines[-1]
    assert line.text.endswith(f"tensorboard --logdir {shlex.quote(str(runs))}") and not line.is_warning


def test_it_can_be_used_whenever_there_is_a_history(
    controller: ShellController, themes: ThemeManager, qtbot: QtBot
) -> None:
    parent = QMainWindow()
    qtbot.addWidget(parent)
    actions = Actions(controller, themes, dict.fromkeys(TABLE, lambda: None), parent)  # type: ignore[arg-type]
    action = actions[ActionId.EXPORT_TENSORBOARD]
    assert not action.isEnabled() and "Open a script or a recipe first" in action.toolTip()
    controller.start(small_training(), steps=1)
    assert action.isEnabled()
    controller.rest_at(Rest.READY, running=True)
    assert action.isEnabled()
    controller.set_engine(EngineStatus.DEAD)
    assert action.isEnabled()


def test_names_and_folders_that_cannot_be(dialog: TensorBoardDialog, tmp_path: Path) -> None:
    assert dialog.problem() is None and dialog.export.isEnabled()
    (tmp_path / "file").touch()
    (tmp_path / "used").mkdir()
    (tmp_path / "used/events.out.tfevents.1").touch()
    for name in ("", "..", "a/b", "file", "used"):
        dialog.name.setText(name)
        assert not dialog.export.isEnabled(), name
        assert dialog.hint.property("role") == "bad"
        dialog.accept()
    assert "holds event files already" in dialog.hint.text()
    dialog.name.setText("run")
    dialog.folder.setText(str(tmp_path / "nowhere"))
    assert "no folder" in dialog.hint.text()
    dialog.folder.setText(str(tmp_path))
    assert dialog.export.isEnabled()


def test_a_missing_package_is_asked_for_before_anything_else(
    dialog: TensorBoardDialog, monkeypatch: pytest.MonkeyPatch
) -> None:
    find: Callable[..., object] = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None if name == "tensorboard" else find(name))
    dialog.name.setText("other")
    assert not dialog.export.isEnabled()
    assert dialog.hint.text().endswith(f"{sys.executable} -m pip install tensorboard")


def write_slowly(go: threading.Event) -> Callable[..., Any]:
    """Stands for a large history: waits for `go` between two looks at whether it is still wanted."""

    def write(source: object, folder: Path, *, go_on: Callable[[float], bool]) -> tuple[Path, int]:
        if not go_on(0.25):
            raise event_export.Cancelled
        assert go.wait(10)
        if not go_on(0.5):
            raise event_export.Cancelled
        raise BadInput("The event file cannot be written to /x: No space left on device")

    return write


def test_cancelling_waits_until_nothing_is_left(
    dialog: TensorBoardDialog, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    monkeypatch.setattr(event_export, "write_events", write_slowly(go))
    dialog.open()
    dialog.accept()
    qtbot.waitUntil(lambda: dialog.progress.value() == 250)
    assert dialog.progress.isVisible() and not dialog.name.isEnabled() and not dialog.export.isEnabled()
    dialog.buttons.button(QDialogButtonBox.StandardButton.Cancel).click()
    assert dialog.isVisible()
    go.set()
    qtbot.waitUntil(lambda: not dialog.isVisible())


def test_a_full_disk_is_one_sentence_and_another_folder_can_be_tried(
    dialog: TensorBoardDialog, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    go = threading.Event()
    go.set()
    with monkeypatch.context() as patch:
        patch.setattr(event_export, "write_events", write_slowly(go))
        dialog.open()
        dialog.accept()
        qtbot.waitUntil(lambda: dialog.hint.property("role") == "bad")
    assert dialog.hint.text() == "The event file cannot be written to /x: No space left on device"
    assert dialog.export.isEnabled() and not dialog.progress.isVisible()
    dialog.accept()
    qtbot.waitUntil(lambda: not dialog.isVisible())
    assert list(scalars(read(tmp_path / "run"), "loss")) == [0, 1, 2]


def test_a_bug_of_ours_is_told_too(dialog: TensorBoardDialog, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(event_export, "write_events", fail)
    dialog.open()
    dialog.accept()
    qtbot.waitUntil(lambda: "ZeroDivisionError" in dialog.hint.text())
