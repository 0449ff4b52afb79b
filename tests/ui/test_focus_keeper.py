"""Where the keyboard goes when a run switches off, or hides, what has it."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QApplication, QMainWindow, QPushButton, QToolBar, QWidget
from pytestqt.qtbot import QtBot

from gradscope.ui.widgets.focus_keeper import FocusKeeper


class Window(QMainWindow):
    """A corner that comes next in the order of Tab, a tool bar, a middle."""

    def __init__(self) -> None:
        super().__init__()
        self.corner = QPushButton("corner")
        self.bar = QToolBar(self)
        self.run, self.pause, self.seed = (QPushButton(name) for name in ("run", "pause", "seed"))
        for button in (self.run, self.pause, self.seed):
            self.bar.addWidget(button)
        self.addToolBar(self.bar)
        self.menuBar().setCornerWidget(self.corner)
        self.middle = QWidget()
        self.plot = QPushButton("plot", self.middle)
        self.setCentralWidget(self.middle)
        QWidget.setTabOrder(self.seed, self.corner)
        self.keeper = FocusKeeper(self, fallback=self.middle)

    def focusNextPrevChild(self, next: bool) -> bool:
        return self.keeper.take_over() or super().focusNextPrevChild(next)


@pytest.fixture
def window(qtbot: QtBot) -> Window:
    window = Window()
    qtbot.addWidget(window)
    window.show()
    window.activateWindow()
    qtbot.waitUntil(lambda: QApplication.focusWidget() is not None or window.isVisible(), timeout=20_000)
    return window


def test_what_is_switched_off_gives_the_keyboard_to_its_neighbour_and_gets_it_back(window: Window) -> None:
    window.seed.setFocus()
    window.seed.setEnabled(False)
    assert window.focusWidget() is window.run
    window.seed.setEnabled(True)
    assert window.focusWidget() is window.seed


def test_whoever_has_gone_elsewhere_meanwhile_stays_there(window: Window) -> None:
    window.seed.setFocus()
    window.seed.setEnabled(False)
    window.plot.setFocus()
    window.seed.setEnabled(True)
    assert window.focusWidget() is window.plot


def test_several_that_are_switched_off_together_give_it_to_one_that_is_not(window: Window) -> None:
    window.run.setFocus()
    for button in (window.run, window.seed):
        button.setEnabled(False)
    assert window.focusWidget() is window.pause
    for button in (window.seed, window.run):
        button.setEnabled(True)
    assert window.focusWidget() is window.run


def test_where_nothing_near_by_can_have_it_the_middle_has(window: Window) -> None:
    window.seed.setFocus()
    window.bar.setEnabled(False)
    assert window.focusWidget() is window.plot or window.focusWidget() is None
    window.bar.setEnabled(True)
    window.seed.setFocus()
    for button in (window.run, window.pause, window.seed):
        button.setEnabled(False)
    assert window.focusWidget() is window.plot


def test_what_is_hidden_gives_it_to_its_neighbour(window: Window) -> None:
    window.plot.setFocus()
    other = QPushButton("other", window.middle)
    other.show()
    window.plot.hide()
    assert window.focusWidget() is other


def test_tab_itself_goes_on_as_before(window: Window) -> None:
    window.seed.setFocus()
    assert window.focusNextPrevChild(True)
    assert window.focusWidget() is window.corner
