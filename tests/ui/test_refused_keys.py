"""A key whose action cannot be used now: why is said, where nothing would happen."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from gradscope.protocol.phases import Verb
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.window.main_window import MainWindow
from tests.ui.fakes import small_training
from tests.ui.shell_fakes import ShellController


@pytest.fixture
def window(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> MainWindow:
    window = MainWindow(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(window)
    window.resize(1440, 900)
    window.show()
    controller.start(small_training(), steps=1)
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    return window


def press(window: MainWindow, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> str:
    """What the status bar says then."""
    place = window.focusWidget()
    assert isinstance(place, QWidget)
    QTest.keyClick(place, key, modifier)
    return window.status.message.text()


def test_a_phase_while_a_recipe_is_opened(window: MainWindow, controller: ShellController) -> None:
    for place in (window.layers.view, window.layers.filter, window.toolbar.seed, window.workspace.tabBar()):
        controller.state.set_opening("/some/other.py")
        controller.flush()
        place.setFocus()
        assert press(window, Qt.Key.Key_F5) == "Forward: A recipe is being opened", place
        controller.state.set_opening(None)
        controller.flush()
    assert controller.asked == []
    press(window, Qt.Key.Key_F5)
    assert controller.asked == [("go", Verb.FORWARD)]


def test_a_phase_whose_turn_it_is_not(window: MainWindow, controller: ShellController) -> None:
    window.layers.view.setFocus()
    assert press(window, Qt.Key.Key_F6).startswith("Backward: ")
    assert press(window, Qt.Key.Key_F12) == window.status.message.text(), "nothing is said of a key that has no action"
    assert controller.asked == []
