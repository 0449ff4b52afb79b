"""What the keyboard and the wheel do anywhere in the window: focus that can be seen, letters of menus, Esc, fields."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QPointF, QRect, Qt
from PySide6.QtGui import QImage, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QInputDialog,
    QMenu,
    QScrollBar,
    QWidget,
)
from pytestqt.qtbot import QtBot

import gradscope.ui
from gradscope.state.selection import Selection
from gradscope.ui.dialogs.settings import SettingsDialog
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.access_keys import give_access_keys, letter_of
from gradscope.ui.widgets.focus_ring import FocusRings, part_in_sight
from gradscope.ui.window.main_window import MainWindow
from tests.ui.fakes import full_training
from tests.ui.shell_fakes import ShellController
from tests.ui.test_training_dock import CHOICES

MOST_STOPS = 120


@pytest.fixture
def window(qtbot: QtBot, qapp: QApplication, controller: ShellController, themes: ThemeManager) -> Iterator[MainWindow]:
    """A session with everything, as it is drawn."""
    controller.choices = CHOICES
    style_sheet, palette = qapp.styleSheet(), qapp.palette()
    themes.apply(qapp)
    rings = FocusRings(qapp, themes)
    window = MainWindow(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(window)
    window.resize(1440, 900)
    window.show()
    controller.start(full_training(), steps=2)
    controller.select(Selection.of_node("net.0.weight", is_parameter=True))
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    yield window
    window.close()
    rings.deleteLater()
    qapp.setStyleSheet(style_sheet)
    qapp.setPalette(palette)


def turn_wheel(widget: QWidget) -> None:
    middle, none = widget.rect().center(), Qt.KeyboardModifier.NoModifier
    place = QPointF(middle), QPointF(widget.mapToGlobal(middle))
    for delta in (120, -120, -120):
        event = QWheelEvent(
            *place, QPoint(), QPoint(0, delta), Qt.MouseButton.NoButton, none, Qt.ScrollPhase.NoScrollPhase, False
        )
        QApplication.sendEvent(widget, event)


def values_of(root: QWidget) -> dict[QWidget, object]:
    """Every field below a widget, with its value."""
    found: dict[QWidget, object] = {}
    for combo in root.findChildren(QComboBox):
        found[combo] = combo.currentIndex()
    for spin in root.findChildren(QAbstractSpinBox):
        found[spin] = spin.text()
    for slider in root.findChildren(QAbstractSlider):
        if not isinstance(slider, QScrollBar):
            found[slider] = slider.value()
    return found


@pytest.mark.parametrize("has_focus", [False, True])
def test_the_wheel_over_a_form_edits_nothing(window: MainWindow, qtbot: QtBot, has_focus: bool) -> None:
    window.training.raise_()
    for section in window.training.sections.values():
        section.header.setChecked(True)
    for i in range(window.workspace.count()):
        window.workspace.setCurrentIndex(i)
    settings = SettingsDialog(window.controller.settings, running="", parent=window)
    qtbot.addWidget(settings)
    window.layer_menu._ask_dropout("net.0", 0.5)
    before = values_of(window)
    assert len(before) > 12
    assert any(isinstance(field.parentWidget(), QInputDialog) for field in before)
    for field in before:
        if has_focus:
            field.setFocus()
        turn_wheel(field)
    assert values_of(window) == before


def test_every_field_of_ours_is_one_that_ignores_the_wheel() -> None:
    plain = {"QComboBox", "QSpinBox", "QDoubleSpinBox", "QSlider", "QDial", "QDateTimeEdit"}
    made = [
        f"{path.name}:{node.lineno}"
        for path in Path(gradscope.ui.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in plain
    ]
    assert made == [], "make those of gradscope.ui.widgets.fields"


def picture(window: MainWindow, widget: QWidget) -> QImage:
    return window.grab(QRect(widget.mapTo(window, QPoint()), widget.size())).toImage()


def test_every_tab_press_moves_a_focus_that_can_be_seen(window: MainWindow, qtbot: QtBot) -> None:
    window.layers.filter.setFocus(Qt.FocusReason.TabFocusReason)
    first = window.focusWidget()
    assert first is window.layers.filter
    stops: list[QWidget] = []
    while len(stops) < MOST_STOPS:
        before = window.focusWidget()
        assert before is not None
        QTest.keyClick(before, Qt.Key.Key_Tab)
        after = window.focusWidget()
        assert after is not None and after is not before, f"stuck at {before}"
        assert not part_in_sight(after).isEmpty(), (
            f"{after} ({after.accessibleName()}) of {after.parent()} is out of sight"
        )
        focused = picture(window, after)
        after.clearFocus()
        assert picture(window, after) != focused, f"the focus of {after} ({after.accessibleName()}) cannot be seen"
        after.setFocus(Qt.FocusReason.TabFocusReason)
        stops.append(after)
        if after is first:
            break
    assert stops[-1] is first, "it comes round"
    # In the order in which they are seen, each of them once; what Qt has made itself, as the tabs of panels, lies between.
    panels = (
        window.layers,
        window.centre,
        window.inspector,
        window.moments,
        window.status,
        window.menuBar(),
        window.toolbar,
    )
    order = [panel for stop in stops for panel in panels if panel.isAncestorOf(stop)]
    visited = [panel for panel, _ in itertools.groupby(order)]
    assert visited == [*(panel for panel in panels if panel in visited), window.layers], visited
    assert {window.layers, window.centre, window.inspector, window.moments, window.toolbar} <= set(visited)


def walk(window: MainWindow, start: QWidget, holder: QWidget) -> list[tuple[int, int]]:
    """(line, left) of each stop within the holder, from where Tab enters it until it leaves."""
    start.setFocus(Qt.FocusReason.TabFocusReason)
    places: list[tuple[int, int]] = []
    while True:
        place = window.focusWidget()
        assert place is not None
        QTest.keyClick(place, Qt.Key.Key_Tab)
        place = window.focusWidget()
        assert place is not None and len(places) < MOST_STOPS
        if not holder.isAncestorOf(place):
            return places
        corner = place.mapTo(holder, QPoint())
        places.append((corner.y() // 20 if holder is not window.toolbar else 0, corner.x()))


def test_tab_goes_through_a_tab_from_its_top_to_its_end(window: MainWindow, qtbot: QtBot) -> None:
    window.workspace.setCurrentIndex(2)
    qtbot.wait(50)
    page = window.workspace.currentWidget()
    assert page is not None
    places = walk(window, window.workspace.tabBar(), page)
    assert len(places) > 9
    assert places == sorted(places)


def test_tab_goes_through_the_tool_bar_from_left_to_right(window: MainWindow) -> None:
    places = walk(window, window.home, window.toolbar)
    assert len(places) > 8
    assert places == sorted(places)


def test_tab_goes_down_the_training_panel(window: MainWindow, qtbot: QtBot) -> None:
    window.training.raise_()
    for section in window.training.sections.values():
        section.header.setChecked(True)
    qtbot.wait(50)
    content = window.training._content
    first = window.training.sections["groups"].header
    places = walk(window, first, content)
    assert len(places) > 10
    assert [line for line, _ in places] == sorted(line for line, _ in places)


def test_no_two_entries_of_a_menu_share_a_letter(window: MainWindow) -> None:
    menus = [menu for menu in window.findChildren(QMenu) if menu.actions()]
    for menu in menus:
        menu.aboutToShow.emit()
    entries = {menu.title(): menu.actions() for menu in menus}
    entries["menu bar"] = window.menuBar().actions()
    assert len(entries) >= 9
    for title, actions in entries.items():
        texts = [action.text() for action in actions if not action.isSeparator() and action.text()]
        letters = [letter_of(text) for text in texts]
        assert len(set(letters)) == len(letters), (title, texts)
        enabled = [action.text() for action in actions if action.isEnabled() and action.text()]
        assert all(map(letter_of, enabled)), (title, texts)


def test_letters_are_given_to_entries_without_one(qtbot: QtBot) -> None:
    menu = QMenu()
    qtbot.addWidget(menu)
    for text in ("&Layers", "Log", "Lg", "LLL", "mine && yours", "m&m"):
        menu.addAction(text)
    give_access_keys(menu)
    assert [action.text() for action in menu.actions()] == ["&Layers", "L&og", "L&g", "LLL", "m&ine && yours", "m&m"]
    assert letter_of("mine && yours") == "" and letter_of("a && &b") == "B"


def test_escape_clears_the_filter(window: MainWindow, qtbot: QtBot) -> None:
    for place in (window.layers.filter, window.layers.view):
        window.layers.filter.setText("net.0")
        place.setFocus()
        QTest.keyClick(place, Qt.Key.Key_Escape)
        assert window.layers.filter.text() == ""
        assert not window.layers.model.is_filtered()
