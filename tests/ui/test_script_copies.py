""" "Copy as script" in the window: where it can be used, what is asked of the engine, what becomes of the answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMainWindow
from pytestqt.qtbot import QtBot

from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.messages import Failed
from gradscope.protocol.messages.reproduce import Reproduce, Reproduced
from gradscope.protocol.phases import Position, Rest
from gradscope.ui.actions.actions import Actions
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.dialogs.script_copies import SaveScriptDialog, ScriptCopies
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.window.commands import Commands
from tests.ui.fakes import small_training
from tests.ui.shell_fakes import ShellController

SCRIPT = "import torch\n\nprint(0.5)\n"
BOTH = (ActionId.COPY_AS_SCRIPT, ActionId.SAVE_AS_SCRIPT)


@pytest.fixture
def window(qtbot: QtBot) -> QMainWindow:
    window = QMainWindow()
    qtbot.addWidget(window)
    window.show()
    return window


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def copies(controller: ShellController, window: QMainWindow, told: list[str]) -> ScriptCopies:
    copies = ScriptCopies(controller, window=window, parent=window)  # type: ignore[arg-type]
    copies.told.connect(told.append)
    controller.start(small_training(), steps=3)
    return copies


def answer(controller: ShellController, reply: object) -> None:
    message, on_reply = controller.asked[-1]
    assert message == Reproduce()
    on_reply(reply)


def test_it_goes_to_the_clipboard(copies: ScriptCopies, controller: ShellController, told: list[str]) -> None:
    copies.copy()
    answer(controller, Reproduced(text=SCRIPT, notes=("Only nearly so on a GPU",)))
    assert QGuiApplication.clipboard().text() == SCRIPT
    assert told == ["A script of 3 lines that comes to this moment is on the clipboard"]
    lines = [(line.text, line.is_warning) for line in controller.state.log.lines]
    assert lines[-2:] == [("Only nearly so on a GPU", True), (told[0], False)]


def test_it_is_saved_where_one_wants_it(
    copies: ScriptCopies, controller: ShellController, window: QMainWindow, told: list[str], tmp_path: Path
) -> None:
    controller.settings.set(Setting.SCRIPT_FOLDER, str(tmp_path))
    copies.save()
    answer(controller, Reproduced(text=SCRIPT))
    (dialog,) = window.findChildren(SaveScriptDialog)
    assert dialog.selectedFiles() == [str(tmp_path / "Small_to_step3.py")]
    path = tmp_path / "mine.py"
    dialog.fileSelected.emit(str(path))
    dialog.reject()
    assert path.read_text("utf-8") == SCRIPT and told == [f"Script written to {path}"]


def test_a_folder_that_is_not_there_is_said(
    copies: ScriptCopies, controller: ShellController, window: QMainWindow, told: list[str], tmp_path: Path
) -> None:
    copies.save()
    answer(controller, Reproduced(text=SCRIPT))
    (dialog,) = window.findChildren(SaveScriptDialog)
    dialog.fileSelected.emit(str(tmp_path / "no" / "mine.py"))
    dialog.reject()
    assert told == [f"{tmp_path / 'no' / 'mine.py'} cannot be written: No such file or directory"]


def test_what_cannot_be_written_is_said_in_the_engine_s_words(
    copies: ScriptCopies, controller: ShellController, told: list[str]
) -> None:
    QGuiApplication.clipboard().setText("before")
    copies.copy()
    failure = Failure(kind=FailureKind.BAD_INPUT, sentence="A script cannot come here: the checkpoint c.pt was loaded")
    answer(controller, Failed(failure=failure, position=Position()))
    assert told == [failure.sentence]
    assert controller.state.log.lines[-1].is_warning
    assert QGuiApplication.clipboard().text() == "before"


def test_where_it_can_be_used(controller: ShellController, themes: ThemeManager, window: QMainWindow) -> None:
    commands = Commands(controller, window=window, plot_images=lambda: iter(()))  # type: ignore[arg-type]
    actions = Actions(controller, themes, commands.handlers(), window)  # type: ignore[arg-type]

    def are_enabled() -> bool:
        (enabled,) = {actions[action_id].isEnabled() for action_id in BOTH}
        return enabled

    assert not are_enabled()
    controller.start(small_training(), steps=0)
    assert not are_enabled() and "press Forward first" in actions[BOTH[0]].toolTip()
    for rest in (Rest.FORWARD, Rest.ACCUMULATING, Rest.BACKWARD):
        controller.rest_at(rest)
        assert are_enabled()
    controller.rest_at(Rest.FORWARD, running=True)
    assert not are_enabled()
    controller.rest_at(Rest.IN_BACKWARD)
    assert not are_enabled() and "Stopped in backward: finish that phase first" in actions[BOTH[0]].toolTip()
