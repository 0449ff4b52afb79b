"""What the actions do: files, dialogs and the export."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtWidgets import QDialog, QMainWindow
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.ui.dialogs.about import AboutDialog
from gradscope.ui.dialogs.export import ExportDialog
from gradscope.ui.dialogs.open_file import OpenFileDialog
from gradscope.ui.dialogs.settings import SettingsDialog
from gradscope.ui.dialogs.shortcuts import ShortcutsDialog
from gradscope.ui.look.settings import Setting
from gradscope.ui.window.commands import Commands
from tests.ui.fakes import small_training
from tests.ui.shell_fakes import ShellController

PICTURES = [messages.Attachment(name=f"plots/{i}.png", data=np.zeros(4, dtype=np.uint8)) for i in range(3)]


@pytest.fixture
def window(qtbot: QtBot) -> QMainWindow:
    window = QMainWindow()
    qtbot.addWidget(window)
    window.show()
    return window


@pytest.fixture
def commands(controller: ShellController, window: QMainWindow) -> Commands:
    return Commands(controller, window=window, plot_images=lambda: iter(PICTURES))  # type: ignore[arg-type]


def test_a_file_is_opened_by_its_absolute_path(
    commands: Commands, controller: ShellController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commands.open_file("mine.py")
    assert controller.asked == [("open", str(tmp_path / "mine.py"))]


def test_a_recent_file_that_is_gone_is_forgotten(
    commands: Commands, controller: ShellController, tmp_path: Path
) -> None:
    gone = str(tmp_path / "gone.py")
    controller.settings.add_recent_file(gone)
    commands.open_file(gone)
    assert controller.settings.get(Setting.RECENT_FILES) == []
    assert controller.asked == [("open", gone)]


def test_the_chosen_recipe_is_opened_and_its_folder_remembered(
    commands: Commands, controller: ShellController, tmp_path: Path
) -> None:
    commands._on_file_chosen(str(tmp_path / "mine.py"))
    assert controller.asked == [("open", str(tmp_path / "mine.py"))]
    assert controller.settings.get(Setting.LAST_FOLDER) == str(tmp_path)


@pytest.mark.parametrize(
    ("show", "kind"),
    [
        (Commands.choose_file, OpenFileDialog),
        (Commands.show_settings, SettingsDialog),
        (Commands.show_shortcuts, ShortcutsDialog),
        (Commands.show_about, AboutDialog),
        (Commands.export_snapshot, ExportDialog),
    ],
)
def test_dialogs_are_opened_and_not_waited_for(
    commands: Commands,
    controller: ShellController,
    window: QMainWindow,
    show: Callable[[Commands], None],
    kind: type[QDialog],
) -> None:
    controller.start(small_training())
    show(commands)
    dialogs = window.findChildren(kind)
    assert len(dialogs) == 1
    assert dialogs[0].isVisible()
    dialogs[0].reject()


def test_quit_closes_the_window(commands: Commands, window: QMainWindow) -> None:
    commands.quit()
    assert not window.isVisible()
