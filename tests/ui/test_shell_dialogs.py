"""The dialogs: what they refuse and how they say it, and what they hand on."""

import sys
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialogButtonBox, QLabel
from pytestqt.qtbot import QtBot

import gradscope
from gradscope.state.engine import EngineState
from gradscope.ui.actions import spare_keeper
from gradscope.ui.actions.table import TABLE
from gradscope.ui.dialogs.about import AboutDialog
from gradscope.ui.dialogs.error_report import ErrorReportDialog
from gradscope.ui.dialogs.interpreter import problem_with_interpreter
from gradscope.ui.dialogs.open_file import OpenFileDialog
from gradscope.ui.dialogs.settings import SettingsDialog
from gradscope.ui.dialogs.shortcuts import ShortcutsDialog
from gradscope.ui.look.settings import Setting, Settings, ThemeChoice


def test_interpreters_are_checked_by_their_file(tmp_path: Path) -> None:
    plain = tmp_path / "python"
    plain.write_text("")
    assert problem_with_interpreter("") is None
    assert problem_with_interpreter(sys.executable) is None
    assert "no file" in (problem_with_interpreter(str(tmp_path / "nothing")) or "")
    assert "is a folder" in (problem_with_interpreter(str(tmp_path)) or "")
    if sys.platform != "win32":
        assert "not executable" in (problem_with_interpreter(str(plain)) or "")


def test_settings_say_what_is_wrong_next_to_the_field(qtbot: QtBot, tmp_path: Path) -> None:
    settings = Settings(tmp_path / "settings.ini")
    dialog = SettingsDialog(settings, running="")
    qtbot.addWidget(dialog)
    ok = dialog.buttons.button(QDialogButtonBox.StandardButton.Ok)
    assert ok.isEnabled()
    assert "Restart engine" in dialog.hint.text()
    dialog.python.setText("/no/such/python")
    assert not ok.isEnabled()
    assert "/no/such/python" in dialog.hint.text()
    assert dialog.hint.property("role") == "bad"
    dialog.accept()
    assert settings.get(Setting.PYTHON) == ""
    dialog.python.setText(sys.executable)
    dialog.theme.setCurrentIndex(dialog.theme.findData(ThemeChoice.DARK))
    dialog.accept()
    assert settings.get(Setting.PYTHON) == sys.executable
    assert settings.get(Setting.THEME) is ThemeChoice.DARK


def test_a_spare_engine_can_be_done_without(qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spare_keeper, "memory_bytes", lambda: 8_000_000_000)
    settings = Settings(tmp_path / "settings.ini")
    dialog = SettingsDialog(settings, running="")
    qtbot.addWidget(dialog)
    assert dialog.spare.isChecked() and dialog.spare.isEnabled()
    assert "250 MB" in dialog.spare_hint.text()
    dialog.spare.setChecked(False)
    dialog.accept()
    assert settings.get(Setting.SPARE_ENGINE) is False


def test_a_small_machine_has_no_spare_engine_and_is_told_so(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spare_keeper, "memory_bytes", lambda: 2 * 1024**3)
    settings = Settings(tmp_path / "settings.ini")
    dialog = SettingsDialog(settings, running="")
    qtbot.addWidget(dialog)
    assert not dialog.spare.isChecked() and not dialog.spare.isEnabled()
    assert "2.1 GB" in dialog.spare_hint.text() and "4 GB" in dialog.spare_hint.text()
    dialog.accept()
    assert settings.get(Setting.SPARE_ENGINE) is True, "the settings may move to another machine"


def test_cancelled_settings_change_nothing(qtbot: QtBot, tmp_path: Path) -> None:
    settings = Settings(tmp_path / "settings.ini")
    dialog = SettingsDialog(settings, running="")
    qtbot.addWidget(dialog)
    dialog.python.setText(sys.executable)
    dialog.reject()
    assert settings.get(Setting.PYTHON) == ""


def test_shortcuts_lists_every_key(qtbot: QtBot) -> None:
    dialog = ShortcutsDialog(steps=100)
    qtbot.addWidget(dialog)
    rows = [dialog.list.topLevelItem(i) for i in range(dialog.list.topLevelItemCount())]
    keys = [row.text(0) for row in rows if row is not None]
    assert len(keys) == sum(bool(row.shortcuts) for row in TABLE.values())
    assert "F5" in keys
    assert "Shift+F9, Pause" in keys
    assert not any("%1" in row.text(1) + row.text(2) for row in rows if row is not None)


def test_about_names_versions(qtbot: QtBot) -> None:
    dialog = AboutDialog(EngineState(torch_version="2.13.0", executable="/opt/python"))
    qtbot.addWidget(dialog)
    texts = [label.text() for label in dialog.findChildren(QLabel)]
    assert {gradscope.__version__, "2.13.0", "/opt/python", "MIT"} <= set(texts)


def test_a_report_can_be_copied_and_grows(qtbot: QtBot) -> None:
    dialog = ErrorReportDialog("A bug", "Please report", "first")
    qtbot.addWidget(dialog)
    dialog.add("second")
    dialog._on_copy_clicked()
    assert QGuiApplication.clipboard().text() == "first\n\nsecond"


def test_open_starts_in_the_folder_with_python_files_and_notebooks(qtbot: QtBot, tmp_path: Path) -> None:
    dialog = OpenFileDialog(folder=tmp_path)
    qtbot.addWidget(dialog)
    assert Path(dialog.directory().absolutePath()) == tmp_path
    assert "*.py" in dialog.selectedNameFilter() and "*.ipynb" in dialog.selectedNameFilter()


@pytest.mark.parametrize("make", [lambda: ShortcutsDialog(steps=1), lambda: AboutDialog(EngineState())])
def test_escape_closes(qtbot: QtBot, make: object) -> None:
    assert callable(make)
    dialog = make()
    qtbot.addWidget(dialog)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    dialog.open()
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert not dialog.isVisible()
