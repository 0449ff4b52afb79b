"""Rooms: what is in them is built when it is first wanted, and stands then where it would have stood."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel, QLineEdit, QPushButton, QTabWidget, QVBoxLayout, QWidget
from pytestqt.exceptions import capture_exceptions
from pytestqt.qtbot import QtBot

from gradscope.ui.compare.compare_tab import CompareTab
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.what_if.what_if_tab import WhatIfTab
from gradscope.ui.widgets import room as rooms
from gradscope.ui.widgets.room import Ahead, Room, RoomTabs
from gradscope.ui.widgets.tab_order import stops_of
from gradscope.ui.window.main_window import MainWindow
from tests.ui.shell_fakes import ShellController


@pytest.fixture
def tabs(qtbot: QtBot) -> RoomTabs:
    tabs = RoomTabs()
    qtbot.addWidget(tabs)
    return tabs


def test_it_is_built_once_when_it_is_first_shown(tabs: RoomTabs) -> None:
    built: list[str] = []

    def label(text: str) -> QLabel:
        built.append(text)
        return QLabel(text)

    first = tabs.add_room(lambda: label("first"), "First")
    second = tabs.add_room(lambda: label("second"), "Second")
    assert built == [] and first.known is None
    tabs.show()
    assert built == ["first"] and first.content.isVisible(), "no turn of the event loop lies between"
    tabs.setCurrentIndex(1)
    assert built == ["first", "second"] and second.content.isVisible()
    assert tabs.content() is second.known
    tabs.setCurrentIndex(0)
    tabs.setCurrentIndex(1)
    assert built == ["first", "second"]


def test_a_tab_is_named_by_its_room_or_by_what_is_in_it(tabs: RoomTabs) -> None:
    tabs.add_room(QLabel, "First")
    second = tabs.add_room(QLabel, "Second")
    assert tabs.indexOf(second) == tabs.indexOf(second.content) == 1 and tabs.indexOf(QLabel()) == -1
    tabs.setCurrentWidget(second.content)
    assert tabs.currentIndex() == 1


def test_tab_goes_through_what_was_built_late_before_what_lies_behind(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    tabs, behind = RoomTabs(), QLineEdit()
    column = QVBoxLayout(window)
    column.addWidget(tabs)
    column.addWidget(behind)

    def build() -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        for name in ("one", "two"):
            button = QPushButton(name)
            layout.addWidget(button)
        return page

    tabs.add_room(build, "Page")
    window.show()
    qtbot.waitExposed(window)
    window.activateWindow()
    tabs.tabBar().setFocus(Qt.FocusReason.TabFocusReason)
    seen = []
    for _ in range(3):
        qtbot.keyClick(window.focusWidget(), Qt.Key.Key_Tab)
        seen.append(window.focusWidget())
    assert [stop.text() for stop in seen[:2] if isinstance(stop, QPushButton)] == ["one", "two"]
    assert seen[2] is behind


def test_windows_of_a_part_are_no_stops_of_it(qtbot: QtBot) -> None:
    part = QWidget()
    qtbot.addWidget(part)
    inside, window = QLineEdit(part), QWidget(part, Qt.WindowType.Window)
    QLineEdit(window)
    assert stops_of(part) == [part, inside]


def test_one_that_could_not_be_built_is_built_the_next_time(qtbot: QtBot) -> None:
    bar = QWidget()
    qtbot.addWidget(bar)
    answers: list[type[QWidget]] = [QLabel]

    def build() -> QWidget:
        if len(answers) > 1:
            answers.pop()
            raise ZeroDivisionError
        return answers[0]()

    answers.append(QWidget)
    room = Room(build, behind=bar)
    qtbot.addWidget(room)
    with capture_exceptions() as exceptions:
        room.show()
    assert [kind for kind, _, _ in exceptions] == [ZeroDivisionError] and room.known is None
    room.hide()
    room.show()
    assert isinstance(room.known, QLabel) and room.known.isVisible()


def test_rooms_are_built_ahead_while_nothing_runs(
    tabs: RoomTabs, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "AHEAD_MS", 1)
    added = [tabs.add_room(QLabel, str(number)) for number in range(4)]
    tabs.setTabVisible(3, False)
    busy = [True]
    ahead = Ahead(tabs, tabs.visible_rooms, is_busy=lambda: busy[0])
    ahead.start()
    tabs.show()
    ahead.start()
    qtbot.wait(20)
    assert [room.known is not None for room in added] == [True, False, False, False]
    busy.clear()
    busy.append(False)
    qtbot.waitUntil(lambda: added[2].known is not None)
    assert added[1].known is not None and added[3].known is None and tabs.currentIndex() == 0


def test_a_window_opens_without_what_nobody_looks_at_yet(
    qtbot: QtBot, qapp: QApplication, controller: ShellController, themes: ThemeManager
) -> None:
    window = MainWindow(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(window)
    window.show()
    qapp.processEvents()
    for kind in (Chart, CompareTab, WhatIfTab):
        assert window.findChildren(kind) == []
    assert isinstance(window.inspector.tabs, QTabWidget) and window.inspector.why.isHidden() is False
    # A command may speak to what has never been shown.
    window.commands.what_ifs.wanted.emit()
    tab = window.trials.what_if.known
    assert tab is not None and window.workspace.currentIndex() == window.workspace.count() - 2
