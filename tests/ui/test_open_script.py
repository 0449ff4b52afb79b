"""How a script is asked for: the dialog, what is remembered of it, and which files are one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtTest import QSignalSpy
from pytestqt.qtbot import QtBot

from gradscope.protocol.scripts import Script, ScriptKind
from gradscope.ui.dialogs.open_script import OpenScriptDialog
from gradscope.ui.dialogs.script_memory import MAX_CHARACTERS, MAX_LABEL, MAX_SCRIPTS, ScriptMemory, key_of
from gradscope.ui.look.settings import Setting, Settings
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.window.main_window import MainWindow
from tests.ui.shell_fakes import ShellController


@pytest.fixture
def memory(tmp_path: Path) -> ScriptMemory:
    return ScriptMemory(Settings(tmp_path / "settings.ini"))


@pytest.fixture
def script(tmp_path: Path) -> Script:
    file = tmp_path / "train.py"
    file.write_text("train()\n")
    return Script(kind=ScriptKind.FILE, name=str(file), arguments=("--lr", "0.1", "first try"), folder=str(tmp_path))


@pytest.fixture
def dialog(qtbot: QtBot, script: Script) -> OpenScriptDialog:
    dialog = OpenScriptDialog(script)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(dialog)
    dialog.show()
    return dialog


@pytest.fixture
def window(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> MainWindow:
    window = MainWindow(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(window)
    window.show()
    return window


# ----------------------------------------------------------------------------------------------- the dialog


def test_it_begins_as_the_last_time(dialog: OpenScriptDialog, script: Script) -> None:
    assert dialog.arguments.text() == "--lr 0.1 'first try'"
    assert dialog.folder.text() == script.folder
    assert dialog.open_button.isEnabled() and dialog.script() == script
    assert "It is given 3 arguments." in dialog.hint.text()
    spy = QSignalSpy(dialog.chosen)
    dialog.open_button.click()
    assert spy.at(0) == [script] and not dialog.isVisible()


def test_other_arguments_and_another_folder(dialog: OpenScriptDialog, script: Script, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    dialog.arguments.setText("  --name 'a b' \"\" ")
    dialog.folder.setText(f" {other} ")
    expected = Script(kind=ScriptKind.FILE, name=script.name, arguments=("--name", "a b", ""), folder=str(other))
    assert dialog.script() == expected
    dialog.arguments.clear()
    assert "It is given no arguments." in dialog.hint.text()
    dialog.arguments.setText("x")
    assert "It is given one argument." in dialog.hint.text()


@pytest.mark.parametrize(
    ("arguments", "folder", "sentence"),
    [
        ("--name 'first", None, "Arguments: A quote is not closed: expected another '"),
        ("a\\", None, "Arguments: Nothing follows the \\ at the end"),
        ("", "/nowhere/at/all", "Working directory: there is no folder /nowhere/at/all"),
        ("", "  ", "Working directory: there is no folder ''"),
    ],
)
def test_what_is_wrong_is_said(dialog: OpenScriptDialog, arguments: str, folder: str | None, sentence: str) -> None:
    spy = QSignalSpy(dialog.chosen)
    dialog.arguments.setText(arguments)
    if folder is not None:
        dialog.folder.setText(folder)
    assert dialog.hint.text() == sentence and dialog.hint.property("role") == "bad"
    assert not dialog.open_button.isEnabled()
    dialog.accept()
    assert spy.count() == 0 and dialog.isVisible()
    dialog.reject()
    assert spy.count() == 0


def test_a_script_that_was_named_from_its_folder_is_found_from_another(
    qtbot: QtBot, script: Script, tmp_path: Path
) -> None:
    dialog = OpenScriptDialog(replace(script, name="train.py"))
    qtbot.addWidget(dialog)
    assert dialog.script().name == "train.py"
    other = tmp_path / "other"
    other.mkdir()
    dialog.folder.setText(str(other))
    assert dialog.script().name == str(tmp_path / "train.py")


def test_a_module_stays_one(qtbot: QtBot, tmp_path: Path) -> None:
    module = Script(kind=ScriptKind.MODULE, name="pkg.train", folder=str(tmp_path))
    dialog = OpenScriptDialog(module)
    qtbot.addWidget(dialog)
    assert dialog.script() == module


def test_a_long_sentence_takes_nothing_from_the_fields(qtbot: QtBot, dialog: OpenScriptDialog) -> None:
    height = dialog.arguments.height()
    dialog.folder.setText("/nowhere/" + "a_very_long_folder/" * 40)
    qtbot.wait(20)
    assert dialog.arguments.height() == height
    assert dialog.hint.height() >= dialog.hint.heightForWidth(dialog.hint.width())


# ----------------------------------------------------------------------------------------------- what is remembered


def test_a_script_is_remembered_by_its_file(memory: ScriptMemory, script: Script) -> None:
    assert memory.recall(script.name) is None
    memory.remember(replace(script, name="train.py"))
    assert key_of(script) == script.name
    assert memory.recall(script.name) == replace(script, name="train.py")
    memory.remember(script)
    assert memory.recall(script.name) == script, "the last time counts"
    module = Script(kind=ScriptKind.MODULE, name="pkg.train", folder="/w")
    memory.remember(module)
    assert memory.recall("-m pkg.train") == module and memory.recall(script.name) == script


def test_what_is_not_known_is_started_in_its_own_folder(memory: ScriptMemory) -> None:
    assert memory.script_at("/w/train.py") == Script(kind=ScriptKind.FILE, name="/w/train.py", folder="/w")
    assert memory.script_at("/w/a.ipynb").kind is ScriptKind.NOTEBOOK
    assert memory.script_at("-m pkg.train").name == "pkg.train"


def test_few_are_kept_and_none_that_is_too_long(memory: ScriptMemory, script: Script) -> None:
    for number in range(MAX_SCRIPTS + 5):
        memory.remember(replace(script, name=f"/w/{number}.py"))
    assert memory.recall("/w/4.py") is None and memory.recall("/w/5.py") is not None
    memory.remember(replace(script, name="/w/5.py", arguments=("x" * MAX_CHARACTERS,)))
    assert memory.recall("/w/5.py") is None, "its arguments of before would be others"


@pytest.mark.parametrize(
    "stored",
    [
        "{",
        "[]",
        "3",
        "[" * 100_000,
        '{"/w/train.py": 3}',
        '{"/w/train.py": {}}',
        '{"/w/train.py": {"kind": "file"}}',
        '{"/w/train.py": {"kind": "spell", "name": "/w/train.py"}}',
        '{"/w/train.py": {"kind": "file", "name": "/w/other.py"}}',
        '{"/w/train.py": {"kind": "file", "name": "/w/train.py", "arguments": "x"}}',
        '{"/w/train.py": {"kind": "module", "name": "/w/train.py"}}',
    ],
)
def test_nonsense_is_nothing(tmp_path: Path, stored: str) -> None:
    settings = Settings(tmp_path / "settings.ini")
    settings.set(Setting.SCRIPTS, stored)
    memory = ScriptMemory(settings)
    assert memory.recall("/w/train.py") is None
    memory.remember(Script(kind=ScriptKind.FILE, name="/w/train.py", folder="/w"))
    assert memory.recall("/w/train.py") is not None
    assert "/w/train.py" in json.loads(settings.get(Setting.SCRIPTS))


def test_labels(memory: ScriptMemory, script: Script) -> None:
    label = memory.label("/w/recipe.py")
    assert (label.name, label.folder, label.whole) == ("recipe.py", "/w", "/w/recipe.py")
    memory.remember(script)
    label = memory.label(script.name)
    assert label.name == "train.py --lr 0.1 'first try'" and label.folder == script.folder
    assert label.whole == f"{script.name} --lr 0.1 'first try'"
    memory.remember(replace(script, arguments=("x" * 100,)))
    assert len(memory.label(script.name).name) == MAX_LABEL
    assert memory.label("-m gone").name == "-m gone"


# ----------------------------------------------------------------------------------------------- the window


def dialogs(window: MainWindow) -> list[OpenScriptDialog]:
    return [dialog for dialog in window.findChildren(OpenScriptDialog) if dialog.isVisible()]


def drop(window: MainWindow, path: Path) -> bool:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    action, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPoint(5, 5), action, mime, left, none)
    enter.ignore()
    window.dragEnterEvent(enter)
    if enter.isAccepted():
        window.dropEvent(QDropEvent(QPointF(5, 5), action, mime, left, none))
    return enter.isAccepted()


def test_a_dropped_script_is_asked_about(window: MainWindow, controller: ShellController, script: Script) -> None:
    assert drop(window, Path(script.name))
    assert controller.asked == []
    (dialog,) = dialogs(window)
    dialog.arguments.setText("--lr 0.2")
    dialog.accept()
    expected = replace(script, arguments=("--lr", "0.2"))
    assert controller.asked == [("open script", expected)]
    assert drop(window, Path(script.name))
    assert dialogs(window)[-1].arguments.text() == "--lr 0.2", "as the last time"


def test_a_dropped_notebook_is_a_script_too(window: MainWindow, controller: ShellController, tmp_path: Path) -> None:
    book = tmp_path / "book.ipynb"
    book.write_text("{}")
    assert drop(window, book)
    (dialog,) = dialogs(window)
    assert "Its code cells are run one after the other" in dialog.hint.text()
    dialog.accept()
    (asked,) = controller.asked
    assert isinstance(asked[1], Script) and asked[1].kind is ScriptKind.NOTEBOOK


def test_a_recipe_is_opened_at_once(window: MainWindow, controller: ShellController, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.py"
    recipe.write_text("def recipe(): ...\n")
    assert drop(window, recipe)
    window.commands._on_file_chosen(str(recipe))
    assert dialogs(window) == []
    assert controller.asked == [("open", str(recipe))] * 2


def test_what_is_chosen_is_asked_about(window: MainWindow, controller: ShellController, script: Script) -> None:
    window.commands._on_file_chosen(script.name)
    assert len(dialogs(window)) == 1
    assert controller.settings.get(Setting.LAST_FOLDER) == script.folder


def test_a_recent_script_is_started_as_the_last_time(
    window: MainWindow, controller: ShellController, script: Script
) -> None:
    window.commands.open_file(script.name)
    assert controller.asked == [("open script", Script(kind=ScriptKind.FILE, name=script.name, folder=script.folder))]
    ScriptMemory(controller.settings).remember(script)
    controller.asked.clear()
    window.commands.open_file(script.name)
    assert controller.asked == [("open script", script)] and dialogs(window) == []


def test_where_its_folder_is_gone_the_dialog_says_so(
    window: MainWindow, controller: ShellController, script: Script
) -> None:
    ScriptMemory(controller.settings).remember(replace(script, folder="/nowhere/at/all"))
    window.commands.open_file(script.name)
    assert controller.asked == []
    (dialog,) = dialogs(window)
    assert dialog.hint.text() == "Working directory: there is no folder /nowhere/at/all"


def test_the_start_page_shows_how_it_was_started(
    window: MainWindow, controller: ShellController, script: Script
) -> None:
    ScriptMemory(controller.settings).remember(script)
    controller.settings.add_recent_file(script.name)
    (button,) = window.start_page._recent_buttons
    assert button.text().replace("&&", "&").startswith("train.py --lr 0.1 'first try'   ")
    button.click()
    assert controller.asked == [("open script", script)]
