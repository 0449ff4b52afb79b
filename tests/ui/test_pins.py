"""Pinned subjects in the window: the button and the list in the inspector, the menus, the marks in the Layers panel."""

from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QIcon
from PySide6.QtWidgets import QApplication, QMainWindow, QTreeView
from pytestqt.qtbot import QtBot

from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.state.selection import Selection
from gradscope.state.tree import Node, find
from gradscope.ui.actions.actions import Actions, plain
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.docks.inspector import InspectorDock
from gradscope.ui.docks.layers import LayersDock
from gradscope.ui.inspector.pin_buttons import PinButtons
from gradscope.ui.inspector.pin_list import PinList
from gradscope.ui.look.colours import DARK
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.layer_tree import Column
from gradscope.ui.training.layer_menu import LayerMenu
from gradscope.ui.window.commands import Commands
from tests.ui.fakes import deep_training, small_training, switch_theme
from tests.ui.shell_fakes import ShellController

K = SubjectKind
FIRST, GRADIENT = SubjectKey(K.ACTIVATION, "net.0"), SubjectKey(K.ACTIVATION_GRAD, "net.0")
LAST, WEIGHT = SubjectKey(K.ACTIVATION, "net.2"), SubjectKey(K.GRAD, "net.0.weight")
GONE = SubjectKey(K.ACTIVATION, "net.9")


@pytest.fixture
def dock(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> InspectorDock:
    controller.start(small_training(), steps=2)
    dock = InspectorDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.resize(340, 560)
    dock.show()
    show(controller, FIRST)
    return dock


@pytest.fixture
def pins(dock: InspectorDock) -> Iterator[PinButtons]:
    yield dock.header.pins
    dock.header.pins.menu.close()


def show(controller: ShellController, key: SubjectKey) -> None:
    controller.select(Selection.of_subject(key))


def pin(controller: ShellController, *keys: SubjectKey) -> None:
    for key in keys:
        controller.toggle_pin(key)


def open_list(pins: PinButtons) -> PinList:
    pins.menu.popup(pins.opener.mapToGlobal(pins.opener.rect().bottomLeft()))
    return pins.list


def rows(pins: PinList) -> list[tuple[str, str]]:
    items = [pins.rows.topLevelItem(i) for i in range(pins.rows.topLevelItemCount())]
    return [(item.text(0), item.text(1)) for item in items if item is not None]


# ----------------------------------------------------------------------------------------------- the inspector


def test_nothing_is_shown_while_nothing_is_pinned(pins: PinButtons) -> None:
    assert pins.toggle.isVisible() and not pins.toggle.isChecked()
    assert not pins.opener.isVisible()
    assert pins.toggle.toolTip().splitlines()[0] == "Pin activation  (Ctrl+P)"
    assert "through a run" in pins.toggle.toolTip()


def test_the_button_pins_what_is_shown(pins: PinButtons, controller: ShellController) -> None:
    pins.toggle.click()
    assert list(controller.state.pins) == [FIRST]
    assert pins.toggle.isChecked() and pins.toggle.toolTip().startswith("Unpin  (Ctrl+P)")
    assert pins.opener.isVisible() and pins.opener.text() == "1"
    show(controller, GRADIENT)
    assert not pins.toggle.isChecked() and pins.opener.isVisible(), "its gradient is another subject"
    pins.toggle.click()
    assert list(controller.state.pins) == [FIRST, GRADIENT]
    show(controller, FIRST)
    pins.toggle.click()
    assert list(controller.state.pins) == [GRADIENT] and not pins.toggle.isChecked()


def test_of_a_parameter_the_button_promises_no_more_than_a_way_back(
    pins: PinButtons, controller: ShellController
) -> None:
    show(controller, WEIGHT)
    assert pins.toggle.toolTip() == "Pin gradient  (Ctrl+P)\nHave it at hand; its values can be had at any time"


def test_the_list_goes_there_with_a_click(pins: PinButtons, controller: ShellController, qtbot: QtBot) -> None:
    pin(controller, FIRST, LAST, WEIGHT)
    shown = open_list(pins)
    assert rows(shown) == [("net.0", "activation"), ("net.2", "activation"), ("net.0.weight", "gradient")]
    assert shown.rows.currentIndex().row() == 0, "the one that is shown"
    item = shown.rows.topLevelItem(2)
    assert item is not None
    place = shown.rows.visualItemRect(item).center()
    qtbot.mouseClick(shown.rows.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert controller.state.subject == WEIGHT
    assert not pins.menu.isVisible()


def test_the_list_by_keyboard(pins: PinButtons, controller: ShellController, qtbot: QtBot) -> None:
    pin(controller, FIRST, GRADIENT, LAST)
    shown = open_list(pins)
    qtbot.waitUntil(lambda: QApplication.focusWidget() is shown.rows)
    qtbot.keyClick(shown.rows, Qt.Key.Key_Down)
    qtbot.keyClick(shown.rows, Qt.Key.Key_Delete)
    assert list(controller.state.pins) == [FIRST, LAST] and pins.menu.isVisible()
    assert shown.rows.currentIndex().row() == 1, "what has moved up into its place"
    qtbot.keyClick(shown.rows, Qt.Key.Key_Return)
    assert controller.state.subject == LAST and not pins.menu.isVisible()


def test_each_row_can_be_unpinned_and_all_at_once(pins: PinButtons, controller: ShellController) -> None:
    pin(controller, FIRST, LAST, WEIGHT)
    shown = open_list(pins)
    item = shown.rows.topLevelItem(1)
    button = shown.rows.itemWidget(item, 2)
    assert button.toolTip() == "Unpin net.2"
    height = shown.rows.height()
    button.click()  # type: ignore[attr-defined]
    assert [name for name, _ in rows(shown)] == ["net.0", "net.0.weight"]
    assert shown.rows.height() < height and pins.menu.isVisible()
    shown.unpin_all.click()
    assert not len(controller.state.pins)
    assert not pins.menu.isVisible() and not pins.opener.isVisible()


def test_many_pins_with_long_names_are_scrolled_and_elided(
    pins: PinButtons, controller: ShellController, themes: ThemeManager
) -> None:
    training = deep_training(depth=40)
    controller.start(training, steps=1)
    keys = [SubjectKey(K.ACTIVATION, name) for name in training.layers]
    pin(controller, *keys)
    show(controller, keys[30])
    shown = open_list(pins)
    assert len(rows(shown)) == 40 and pins.opener.text() == "40"
    assert shown.rows.verticalScrollBar().maximum() > 0
    assert shown.rows.width() < 70 * shown.fontMetrics().horizontalAdvance("0")
    item = shown.rows.currentItem()
    assert item.text(0) == keys[30].name == item.toolTip(0)
    assert shown.rows.viewport().rect().contains(shown.rows.visualItemRect(item)), "the one that is shown is in sight"
    switch_theme(themes, DARK)


def test_what_is_gone_is_told_as_such_and_can_be_unpinned(
    pins: PinButtons, dock: InspectorDock, controller: ShellController
) -> None:
    call = SubjectKey(K.ACTIVATION, "net.0", call=4)
    pin(controller, GONE, call)
    shown = open_list(pins)
    assert rows(shown) == [("net.9", "not in the model"), ("net.0 #4", "not seen")]
    item = shown.rows.topLevelItem(0)
    assert item is not None and "any more" in item.toolTip(0)
    shown.chosen.emit(GONE)
    assert dock.message == "The model has nothing of this name any more"
    assert pins.toggle.isChecked()
    shown.chosen.emit(call)
    assert "was not seen in this session" in dock.message
    pins.toggle.click()
    assert list(controller.state.pins) == [GONE]


# ----------------------------------------------------------------------------------------------- the action, the menus


@pytest.fixture
def action(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> QAction:
    window = QMainWindow()
    qtbot.addWidget(window)
    commands = Commands(controller, window=window, plot_images=lambda: iter(()))  # type: ignore[arg-type]
    action = Actions(controller, themes, commands.handlers(), window)[ActionId.PIN]  # type: ignore[arg-type]
    action.setProperty("kept", window)
    return action


def test_the_action_follows_what_is_selected(action: QAction, controller: ShellController) -> None:
    assert not action.isEnabled() and "Open a script or a recipe first" in action.toolTip()
    controller.start(small_training(), steps=1)
    assert not action.isEnabled() and "Select a layer, a parameter or a buffer first" in action.toolTip()
    action.trigger()
    show(controller, GRADIENT)
    assert action.isEnabled() and action.text() == "Pin activation gradient" and not action.isChecked()
    action.trigger()
    assert list(controller.state.pins) == [GRADIENT] and action.isChecked()
    show(controller, WEIGHT)
    assert action.text() == "Pin gradient" and not action.isChecked() and "at any time" in action.toolTip()
    show(controller, GRADIENT)
    action.trigger()
    assert not len(controller.state.pins) and not action.isChecked()
    controller.toggle_pin(GRADIENT)
    assert action.isChecked(), "also where it was pinned elsewhere"


def node(controller: ShellController, name: str, *, is_parameter: bool = False) -> Node:
    assert controller.state.tree is not None
    found = find(controller.state.tree, name, is_parameter=is_parameter)
    assert found is not None
    return found


def entries(menu: LayerMenu) -> dict[str, QAction]:
    found = {plain(action.text()): action for action in menu.actions()}
    return {text: action for text, action in found.items() if text.startswith("Pin ")}


def test_the_menu_of_a_row(qtbot: QtBot, controller: ShellController) -> None:
    controller.start(small_training(), steps=1)
    view = QTreeView()
    qtbot.addWidget(view)
    menu = LayerMenu(controller, view)  # type: ignore[arg-type]
    menu.fill(node(controller, "net.0"))
    assert list(entries(menu)) == ["Pin activation", "Pin activation gradient"]
    entries(menu)["Pin activation gradient"].trigger()
    assert list(controller.state.pins) == [GRADIENT]
    menu.fill(node(controller, "net.0"))
    assert [entry.isChecked() for entry in entries(menu).values()] == [False, True]
    show(controller, WEIGHT)
    menu.fill(node(controller, "net.0.weight", is_parameter=True))
    assert list(entries(menu)) == ["Pin gradient"], "what the inspector shows of it"


def test_the_layer_menu_holds_the_action_whatever_is_selected(
    qtbot: QtBot, action: QAction, controller: ShellController
) -> None:
    controller.start(small_training(), steps=1)
    view = QTreeView()
    qtbot.addWidget(view)
    menu = LayerMenu(controller, view, pin=action)  # type: ignore[arg-type]
    menu.fill_for_selection()
    assert action in menu.actions()
    show(controller, FIRST)
    menu.fill_for_selection()
    assert action in menu.actions() and list(entries(menu).values()) == [action]


# ----------------------------------------------------------------------------------------------- the Layers panel


def test_pinned_rows_carry_a_mark(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> None:
    controller.start(small_training(), steps=1)
    dock = LayersDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.show()

    def data(name: str, role: Qt.ItemDataRole, *, is_parameter: bool = False) -> object:
        index = dock.model.index_of(name, is_parameter=is_parameter)
        return index.siblingAtColumn(Column.FLAGS).data(role)

    role = Qt.ItemDataRole
    assert data("net.0", role.DecorationRole) is None and "Pinned" not in str(data("net.0", role.ToolTipRole))
    pin(controller, FIRST, GRADIENT, WEIGHT, GONE)
    assert isinstance(data("net.0", role.DecorationRole), QIcon)
    assert data("net.0", role.ToolTipRole) == "Pinned: activation, activation gradient"
    assert data("net.0", role.AccessibleTextRole) == "Pinned: activation, activation gradient"
    assert data("net.0.weight", role.ToolTipRole, is_parameter=True) == "Pinned: gradient"
    assert data("net.2", role.DecorationRole) is None
    controller.unpin_all()
    assert data("net.0", role.DecorationRole) is None


def test_the_icon_of_pins_is_no_other_button_s(dock: InspectorDock) -> None:
    assert "pin" not in dock.title_bar._icons
