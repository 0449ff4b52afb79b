"""Where the level of capture is chosen: the tool bar, the menu, the layers, the dialog, the settings, the command line."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QDialogButtonBox, QMainWindow, QMenu, QTreeView
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.protocol.capture import Capture, CaptureLevel
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.phases import Rest
from gradscope.state.engine import EngineStatus
from gradscope.state.selection import Selection
from gradscope.state.tree import walk
from gradscope.ui.actions.actions import Actions, plain
from gradscope.ui.actions.rows import ActionId, Menu
from gradscope.ui.actions.table import TABLE
from gradscope.ui.app import Options, problem
from gradscope.ui.dialogs.capture_layers import CaptureLayersDialog
from gradscope.ui.dialogs.settings import SettingsDialog
from gradscope.ui.look.settings import Setting, Settings
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.training.layer_menu import LayerMenu
from gradscope.ui.window.capture_button import CaptureButton
from gradscope.ui.window.commands import Commands
from gradscope.ui.window.menus import Menus
from gradscope.ui.window.toolbar import ToolBar
from tests.patience import patient
from tests.ui.fakes import small_training
from tests.ui.shell_fakes import ShellController

LEVELS = {row.level: action_id for action_id, row in TABLE.items() if row.level is not None}


class Shell:
    def __init__(self, controller: ShellController, themes: ThemeManager, qtbot: QtBot) -> None:
        self.window = QMainWindow()
        qtbot.addWidget(self.window)
        self.commands = Commands(controller, window=self.window, plot_images=lambda: iter(()))  # type: ignore[arg-type]
        self.actions = Actions(controller, themes, self.commands.handlers(), self.window)  # type: ignore[arg-type]
        self.toolbar = ToolBar(controller, themes, self.actions, self.window)  # type: ignore[arg-type]
        self.window.addToolBar(self.toolbar)
        self.window.resize(1800, 200)
        self.window.show()

    @property
    def button(self) -> CaptureButton:
        return self.toolbar.capture

    def action(self, level: CaptureLevel) -> QAction:
        return self.actions[LEVELS[level]]

    def checked(self) -> list[CaptureLevel]:
        return [level for level in CaptureLevel if self.action(level).isChecked()]


@pytest.fixture
def shell(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> Shell:
    return Shell(controller, themes, qtbot)


def change(controller: ShellController, capture: str) -> None:
    """The engine says that it captures so from now on."""
    session = controller.state.session
    assert session is not None
    controller.play(iter([messages.SessionChanged(session=replace(session, capture=capture))]))


# ----------------------------------------------------------------------------------------------- tool bar and menu


@pytest.mark.parametrize(
    ("capture", "text", "level"),
    [
        ("full", "Capture: Full", CaptureLevel.FULL),
        ("norms", "Capture: Norms only", CaptureLevel.NORMS),
        ("off", "Capture: Off", CaptureLevel.OFF),
        ("layers:net.0", "Capture: net.0", CaptureLevel.LAYERS),
        ("layers:net.0,net.2", "Capture: 2 layers", CaptureLevel.LAYERS),
        ("layers:transformer.encoder.layers.11", "Capture: …layers.11", CaptureLevel.LAYERS),
    ],
)
def test_the_tool_bar_says_the_level(
    shell: Shell, controller: ShellController, capture: str, text: str, level: CaptureLevel
) -> None:
    controller.start(small_training())
    change(controller, capture)
    # Of a long name, as much of its end as there is room for.
    assert shell.button.text().startswith(text.partition("layers.11")[0]) and shell.button.text().endswith(text[-9:])
    assert shell.checked() == [level]
    assert bool(shell.button.property("differs")) == (level is not CaptureLevel.FULL)
    assert capture.removeprefix("layers:").replace(",", ", ") in shell.button.toolTip() or level != CaptureLevel.LAYERS


def test_each_level_says_what_it_costs(shell: Shell, controller: ShellController) -> None:
    controller.start(small_training())
    assert "costs the most" in shell.action(CaptureLevel.FULL).toolTip()
    assert "nothing is seen of the others" in shell.action(CaptureLevel.LAYERS).toolTip()
    assert "no mean, range, zeros" in shell.action(CaptureLevel.NORMS).toolTip()
    assert "cannot be undone" in shell.action(CaptureLevel.OFF).toolTip()
    menu = shell.button.menu()
    assert menu.toolTipsVisible() and menu.actions() == [shell.actions[i] for i in LEVELS.values()]


def test_a_choice_asks_the_engine_and_the_mark_waits_for_it(shell: Shell, controller: ShellController) -> None:
    controller.start(small_training())
    for level in (CaptureLevel.NORMS, CaptureLevel.OFF):
        shell.action(level).trigger()
        assert controller.asked[-1] == ("capture", level.value)
        assert shell.checked() == [CaptureLevel.FULL]
    shell.action(CaptureLevel.FULL).trigger()
    assert shell.checked() == [CaptureLevel.FULL], "what is checked stays checked"
    sentence = "What is captured can be changed between two steps"
    failure = Failure(kind=FailureKind.BAD_INPUT, sentence=sentence)
    controller.play(iter([messages.Failed(failure=failure, position=controller.state.position)]))
    assert shell.checked() == [CaptureLevel.FULL]


@pytest.mark.parametrize(
    ("rest", "running", "reason"),
    [(Rest.FORWARD, False, "Only between two steps"), (Rest.READY, True, "press Pause first")],
)
def test_where_it_cannot_be_changed_it_says_why(
    shell: Shell, controller: ShellController, rest: Rest, running: bool, reason: str
) -> None:
    controller.start(small_training())
    assert shell.button.isEnabled()
    controller.rest_at(rest, running=running)
    assert not shell.button.isEnabled() and reason in shell.button.toolTip()
    for level in CaptureLevel:
        assert not shell.action(level).isEnabled() and reason in shell.action(level).toolTip()
    assert shell.button.text() == "Capture: Full", "it says the level all the same"


def test_without_a_session_it_says_what_the_next_one_begins_with(shell: Shell, controller: ShellController) -> None:
    controller.settings.set(Setting.CAPTURE, CaptureLevel.NORMS)
    assert shell.button.text() == "Capture: Norms only"
    assert not shell.button.isEnabled() and "Open a script or a recipe first" in shell.button.toolTip()
    assert "File, Settings" in shell.button.toolTip()
    assert shell.checked() == []
    controller.set_engine(EngineStatus.DEAD, "gone")
    assert "The engine is not running" in shell.button.toolTip()


def test_the_level_is_seen_also_where_there_is_little_room(
    shell: Shell, controller: ShellController, qtbot: QtBot
) -> None:
    controller.start(small_training())
    change(controller, "norms")
    # Of the window: it gives a tool bar that is resized by hand its width back, in some versions of Qt at once.
    shell.window.resize(500, 200)
    qtbot.waitUntil(lambda: shell.button.text() == "Norms only")
    assert shell.button.accessibleName() == "Capture: Norms only"
    assert shell.button.focusPolicy() & Qt.FocusPolicy.TabFocus


def test_the_session_menu_has_the_levels(shell: Shell, controller: ShellController) -> None:
    bar = shell.window.menuBar()
    menus = Menus(
        bar,
        shell.actions,
        controller.settings,
        panels=[],
        open_file=lambda _path: None,
        layer_menu=QMenu(shell.window),
        parent=shell.window,
    )
    session = menus._menus[Menu.SESSION]
    submenu = next(action.menu() for action in session.actions() if action.text() == "&Capture")
    assert submenu.actions() == [shell.actions[i] for i in LEVELS.values()]  # type: ignore[attr-defined]
    assert submenu.toolTipsVisible()  # type: ignore[attr-defined]


# ----------------------------------------------------------------------------------------------- chosen layers


def dialog_of(shell: Shell) -> CaptureLayersDialog:
    dialog = shell.window.findChild(CaptureLayersDialog)
    assert dialog is not None
    return dialog


def ok(dialog: CaptureLayersDialog | SettingsDialog) -> bool:
    return dialog.buttons.button(QDialogButtonBox.StandardButton.Ok).isEnabled()


def test_layers_are_named_in_a_dialog(shell: Shell, controller: ShellController) -> None:
    controller.start(small_training())
    controller.select(Selection.of_node("net.2", is_parameter=False))
    shell.action(CaptureLevel.LAYERS).trigger()
    dialog = dialog_of(shell)
    assert dialog.field.text() == "net.2" and ok(dialog)
    assert dialog.result_line.text() == "Takes in 1 of 3 layers and 2 of 4 parameters"
    dialog.field.setText("net.0, *.2")
    assert dialog.result_line.text() == "Takes in 2 of 3 layers and 4 of 4 parameters"
    dialog.accept()
    assert controller.asked[-1] == ("capture", "layers:net.0,*.2")


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "at least one layer"), (" , ", "at least one layer"), ("net.0, nett*", "has the name nett*")],
)
def test_names_of_no_layer_are_refused_below_the_field(
    shell: Shell, controller: ShellController, text: str, problem: str
) -> None:
    controller.start(small_training())
    change(controller, "layers:net.0")
    shell.action(CaptureLevel.LAYERS).trigger()
    dialog = dialog_of(shell)
    assert dialog.field.text() == "net.0"
    dialog.field.setText(text)
    assert not ok(dialog) and problem in dialog.result_line.text()
    dialog.accept()
    assert dialog.isVisible() and controller.asked == []
    dialog.reject()


@pytest.fixture
def menu(qtbot: QtBot, controller: ShellController) -> LayerMenu:
    controller.start(small_training())
    view = QTreeView()
    qtbot.addWidget(view)
    menu = LayerMenu(controller, view)  # type: ignore[arg-type]
    menu._test_view = view  # type: ignore[attr-defined]
    return menu


def choices(menu: LayerMenu, controller: ShellController, name: str) -> dict[str, QAction]:
    assert controller.state.tree is not None
    menu.fill(next(node for node in walk(controller.state.tree) if node.name == name))
    found = {plain(action.text()): action for action in menu.actions()}
    return {text: action for text, action in found.items() if "apture" in text}


def test_a_layer_s_menu_captures_it(menu: LayerMenu, controller: ShellController) -> None:
    found = choices(menu, controller, "net.0")
    assert list(found) == ["Capture only this layer", "Capture everything"]
    assert not found["Capture everything"].isEnabled() and "now" in found["Capture everything"].toolTip()
    found["Capture only this layer"].trigger()
    assert controller.asked[-1] == ("capture", "layers:net.0")
    change(controller, "layers:net.0")
    found = choices(menu, controller, "net.0")
    assert not found["Capture only this layer"].isEnabled()
    assert "Capture this layer too" not in choices(menu, controller, "net.0.weight"), "it is inside"
    choices(menu, controller, "net.2")["Capture this layer too"].trigger()
    assert controller.asked[-1] == ("capture", "layers:net.0,net.2")
    change(controller, "layers:net.0,net.2")
    choices(menu, controller, "net.0")["Do not capture this one"].trigger()
    assert controller.asked[-1] == ("capture", "layers:net.2")
    choices(menu, controller, "net.1")["Capture everything"].trigger()
    assert controller.asked[-1] == ("capture", "full")


def test_the_model_itself_is_everything(menu: LayerMenu, controller: ShellController) -> None:
    change(controller, "norms")
    assert list(choices(menu, controller, "")) == ["Capture everything"]
    assert list(choices(menu, controller, "net.0.weight")) == ["Capture only this parameter", "Capture everything"]


def test_a_layer_s_menu_says_why_not(menu: LayerMenu, controller: ShellController) -> None:
    controller.rest_at(Rest.BACKWARD)
    for action in choices(menu, controller, "net.0").values():
        assert not action.isEnabled() and "Only between two steps" in action.toolTip()


# ----------------------------------------------------------------------------------------------- settings


def test_settings_have_a_level_and_a_budget(qtbot: QtBot, tmp_path: Path) -> None:
    settings = Settings(tmp_path / "settings.ini")
    dialog = SettingsDialog(settings, running="")
    qtbot.addWidget(dialog)
    assert dialog.capture.currentData() == CaptureLevel.FULL and dialog.budget.value() == 256
    assert [dialog.capture.itemText(i) for i in range(dialog.capture.count())] == ["Full", "Norms only", "Off"]
    dialog.capture.setCurrentIndex(dialog.capture.findData(CaptureLevel.OFF))
    assert "cannot be undone" in dialog.capture_hint.text()
    assert "Reset" in dialog.budget_hint.text()
    dialog.budget.setValue(12)
    dialog.accept()
    settings.sync()
    again = Settings(tmp_path / "settings.ini")
    assert again.get(Setting.CAPTURE) is CaptureLevel.OFF
    assert again.get(Setting.BUDGET_MB) == 12


@pytest.mark.parametrize(
    ("key", "nonsense"),
    [(Setting.CAPTURE, "layers"), (Setting.CAPTURE, "all"), (Setting.BUDGET_MB, "0"), (Setting.BUDGET_MB, "1e9")],
)
def test_nonsense_becomes_the_default(tmp_path: Path, key: Setting, nonsense: str) -> None:
    file = tmp_path / "settings.ini"
    store = QSettings(str(file), QSettings.Format.IniFormat)
    store.setValue(key.value, nonsense)
    store.sync()
    assert Settings(file).get(key) == {Setting.CAPTURE: CaptureLevel.FULL, Setting.BUDGET_MB: 256}[key]


# ----------------------------------------------------------------------------------------------- the command line


def test_the_command_line_s_level_is_checked(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.py"
    recipe.write_text("")
    assert problem(Options()) is None
    assert problem(Options(capture="norms")) is None
    assert problem(Options(capture="layers:0", file=str(recipe))) is None
    assert "'some' is no capture level" in (problem(Options(capture="some")) or "")
    assert "recipe or script on the command line" in (problem(Options(capture="layers:0")) or "")
    assert "recipe or script" in (problem(Options(capture="layers:0", file=str(tmp_path))) or "")


def test_a_bad_level_is_refused_before_there_is_a_window() -> None:
    command = [sys.executable, "-m", "gradscope.cli", "--capture", "everything"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=patient(60))
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "--capture: 'everything' is no capture level; expected full" in ended.stderr


def test_a_level_is_told_to_the_controller(shell: Shell, controller: ShellController) -> None:
    # The handlers of the table are for every level but the chosen layers, which are asked for.
    handlers = shell.commands.handlers()
    for level in (CaptureLevel.FULL, CaptureLevel.NORMS, CaptureLevel.OFF):
        handlers[LEVELS[level]]()
        assert controller.asked[-1] == ("capture", str(Capture(level)))
    handlers[ActionId.CAPTURE_LAYERS]()
    assert shell.window.findChild(CaptureLayersDialog) is None, "there is no session"
